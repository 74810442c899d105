"""Segments: every point is kept once and exactly, and a chart reads little of them and still tells the truth."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import event

from tests.web.samples import add_run
from tracker.store import charts, segments
from tracker.store.database import Database, Session
from tracker.store.points import Floats, Points
from tracker.store.segments import COARSE, EXACT, FINE, SEGMENT_POINTS
from tracker.store.tables import Segment, Writer

T0_US = 1_700_000_000_000_000


def noisy(count: int, seed: int = 1) -> Floats:
    """A loss as it is: falling, with noise, some spikes, infinities and what is no number."""
    chance = np.random.default_rng(seed)
    values = 2.3 * np.exp(-np.arange(count) / (count / 4)) + 0.03 * chance.standard_normal(count)
    for odd in (math.nan, math.inf, -math.inf, 1e6, -1e6):
        values[chance.integers(1, count - 1, 3)] = odd
    values[count // 3 : count // 3 + 700] = math.nan
    return values


def points(values: Floats, first_step: int = 0) -> Points:
    """A point a step, ten milliseconds apart."""
    steps = np.arange(first_step, first_step + len(values), dtype=np.int64)
    return Points(steps, T0_US + steps * 10_000, np.asarray(values, np.float64))


def new_writer(session: Session, run_id: str = "", name: str = "w", restarts: int = 0, first_step: int = 0) -> str:
    """A writer of a run; its run."""
    run_id = run_id or add_run(session).id
    session.add(Writer(run_id=run_id, name=name, restarts=restarts, first_step=first_step))
    session.flush()
    return run_id


def kept(session: Session, run_id: str, metric: str = "loss") -> list[tuple[int, Points]]:
    """The segments: start and points."""
    found = segments.index(session, [run_id], [metric])
    segments.read(session, {EXACT: found})
    return [(one.start, one.points) for one in found if one.points is not None]


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(portions=st.lists(st.integers(1, 300), min_size=1, max_size=40))
def test_whatever_the_portions_all_points_are_there_once_and_in_order(
    db: Database, portions: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segments, "SEGMENT_POINTS", 512)
    values = noisy(sum(portions) + 5)
    with db.write() as session:
        run_id = new_writer(session)
        start = 0
        for count in portions:
            part = points(values[start : start + count], start)
            segments.extend(session, run_id, "w", {"loss": part, "other": part})
            start += count
        found = kept(session, run_id)
        assert [place for place, _ in found] == np.cumsum([0, *(len(some) for _, some in found)])[:-1].tolist()
        whole = Points.joined([some for _, some in found])
        assert whole.steps.tolist() == list(range(start))
        assert whole.values.tobytes() == values[:start].tobytes()
        small = sum(len(some) < 512 for _, some in found)
        assert small <= 10  # each more than half as long as what follows it


def test_many_small_portions_are_packed_a_few_times_each_not_a_thousand(db: Database) -> None:
    packed = 0
    with db.write() as session:
        run_id = new_writer(session)
        for start in range(0, 20_000, 50):
            before = {start for start, _ in _places(session, run_id)}
            segments.extend(session, run_id, "w", {"loss": points(np.ones(50), start)})
            packed += sum(count for place, count in _places(session, run_id) if place not in before or place == start)
        assert len(_places(session, run_id)) <= 8
    assert packed < 12 * 20_000


def _places(session: Session, run_id: str) -> list[tuple[int, int]]:
    return [(one.start, one.count) for one in segments.index(session, [run_id], ["loss"])]


LONG = 2 * SEGMENT_POINTS + 30_000


@pytest.fixture(scope="module")
def long_values() -> Floats:
    return noisy(LONG)


@pytest.fixture
def long_run(db: Database, long_values: Floats) -> str:
    """A run whose loss has two whole segments and smaller ones."""
    with db.write() as session:
        run_id = new_writer(session)
        for start, end in ((0, LONG - 9000), (LONG - 9000, LONG - 900), (LONG - 900, LONG)):
            segments.extend(session, run_id, "w", {"loss": points(long_values[start:end], start)})
    return run_id


@pytest.mark.parametrize(("max_points", "level"), [(8, COARSE), (16, COARSE), (100, FINE), (500, FINE), (2000, EXACT)])
def test_each_level_keeps_ends_and_extremes_and_invents_nothing(
    db: Database, long_run: str, long_values: Floats, max_points: int, level: int
) -> None:
    with db.read() as session:
        read = _Read(session)
        chart = charts.read(session, long_run, "loss", max_points=max_points)
        assert read.level() == level
    steps = chart.curve.x.astype(int)
    assert (chart.count, chart.hidden, chart.downsampled) == (LONG, 0, True)
    assert len(chart.curve) <= max_points
    assert (steps[0], steps[-1]) == (0, LONG - 1)
    assert (np.diff(steps) > 0).all()
    assert chart.curve.y.tobytes() == long_values[steps].tobytes()
    assert (np.nanmin(chart.curve.y), np.nanmax(chart.curve.y)) == (-math.inf, math.inf)


class _Read:
    """Which column of the segments a session reads."""

    def __init__(self, session: Session) -> None:
        self.said: list[str] = []
        event.listen(session.connection(), "before_cursor_execute", lambda *seen: self.said.append(seen[2]))

    def level(self) -> int:
        text = " ".join(self.said)
        return COARSE if "segments.coarse" in text else FINE if "segments.fine" in text else EXACT


@pytest.mark.parametrize("max_points", [100, 400])
def test_no_stretch_of_a_chart_misses_its_extremes(
    db: Database, long_run: str, long_values: Floats, max_points: int
) -> None:
    """Any stretch as wide as four points that are drawn shows its least and greatest value, or one beside it."""
    with db.read() as session:
        curve = charts.read(session, long_run, "loss", max_points=max_points).curve
    width = 4 * LONG // max_points
    for start in range(0, LONG - width, width):
        drawn = curve.y[(curve.x >= start - width) & (curve.x < start + 2 * width)]
        stretch = long_values[start : start + width]
        if not np.isnan(stretch).all():
            assert np.nanmin(drawn) <= np.nanmin(stretch)
            assert np.nanmax(drawn) >= np.nanmax(stretch)


@pytest.mark.parametrize("x", ["step", "time"])
@pytest.mark.parametrize(
    ("first", "last"),
    [(0, 500), (SEGMENT_POINTS - 10, SEGMENT_POINTS + 10), (1000, LONG - 1000), (LONG - 5, LONG + 5), (0, LONG)],
)
def test_a_window_shows_all_that_is_in_it_and_nothing_else(
    db: Database, long_run: str, long_values: Floats, x: str, first: int, last: int
) -> None:
    ends = (first, last) if x == "step" else ((T0_US + first * 10_000) / 1e6, (T0_US + last * 10_000) / 1e6)
    with db.read() as session:
        found = charts.read(session, long_run, "loss", x=x, x_min=ends[0], x_max=ends[1], max_points=600)
    inside = long_values[first : last + 1]
    assert found.count == len(inside)
    if len(inside) <= 600:
        assert found.curve.y.tobytes() == inside.tobytes()
    assert (np.nanmin(found.curve.y), np.nanmax(found.curve.y)) == (np.nanmin(inside), np.nanmax(inside))
    assert (found.curve.y[0], found.curve.y[-1]) == pytest.approx((inside[0], inside[-1]), nan_ok=True)
    with db.read() as session:
        nothing = charts.read(session, long_run, "loss", x=x, x_min=1e12)
    assert (nothing.count, len(nothing.curve), nothing.downsampled) == (0, 0, False)


@pytest.mark.parametrize("max_points", [50, 1000, 200_000])
def test_what_a_resumed_attempt_took_back_is_hidden_to_the_point_at_each_level(
    db: Database, long_run: str, long_values: Floats, max_points: int
) -> None:
    checkpoint = SEGMENT_POINTS + 12_345
    with db.write() as session:
        new_writer(session, long_run, "w2", restarts=1, first_step=checkpoint)
        segments.extend(session, long_run, "w2", {"loss": points(np.full(1000, 0.5), checkpoint)})
    with db.read() as session:
        found = charts.read(session, long_run, "loss", max_points=max_points)
        every = charts.read(session, long_run, "loss", max_points=max_points, attempts="all")
        zoomed = charts.read(session, long_run, "loss", max_points=max_points, x_min=checkpoint - 10, x_max=checkpoint)
    assert (found.count, found.hidden) == (checkpoint + 1000, LONG - checkpoint)
    earlier = found.curve.x < checkpoint
    steps = found.curve.x[earlier].astype(int)
    assert found.curve.y[earlier].tobytes() == long_values[steps].tobytes()
    assert (found.curve.y[~earlier] == 0.5).all()
    assert (every.hidden, [line.count for line in every.lines or []]) == (0, [LONG, 1000])
    assert (zoomed.count, zoomed.hidden, zoomed.curve.x.tolist()) == (
        11,
        1,
        list(range(checkpoint - 10, checkpoint + 1)),
    )


def test_a_segment_keeps_few_bytes_a_point(db: Database) -> None:
    """Float64 noise on a loop of about 20 ms, with steps, times and all levels."""
    chance = np.random.default_rng(5)
    steps = np.arange(SEGMENT_POINTS)
    times_us = T0_US + np.cumsum(20_000 + np.abs(1_500 * chance.standard_normal(SEGMENT_POINTS))).astype(np.int64)
    values = 2.3 * np.exp(-steps / SEGMENT_POINTS) + 0.12 + 0.03 * chance.standard_normal(SEGMENT_POINTS)
    with db.write() as session:
        run_id = new_writer(session)
        segments.extend(session, run_id, "w", {"loss": Points(steps, times_us, values)})
        segment = session.get_one(Segment, (run_id, "loss", "w", 0))
        size = sum(len(column or b"") for column in (segment.points, segment.fine, segment.coarse))
    assert size <= 8 * SEGMENT_POINTS
