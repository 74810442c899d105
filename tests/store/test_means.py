"""Means of long series: as numpy takes them of all points, from a part of what is kept, whatever is zoomed into."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import update

from tests.store.test_segments import T0_US, new_writer, noisy, points
from tests.web.samples import add_run
from tracker.store import charts, means, segments, series
from tracker.store.curves import Curve
from tracker.store.database import Database
from tracker.store.means import Means
from tracker.store.points import Floats, Ints, Points
from tracker.store.segments import COARSE, FINE, SEGMENT_POINTS
from tracker.store.tables import Segment, Writer

VALUES = st.lists(st.floats(width=64), min_size=1, max_size=400)


def is_of(curve: Curve, x: Ints, y: Floats) -> None:
    """Assert that each stretch of a curve is what numpy says of the points from its x to the next one's."""
    starts = np.searchsorted(x, curve.x)
    assert starts[0] == 0 or curve.x[0] >= x[0]
    starts[0] = 0
    for place, stretch in enumerate(np.split(y, starts[1:])):
        finite = stretch[np.isfinite(stretch)]
        mean = np.mean(finite / 2**8) * 2**8 if len(finite) else math.nan
        assert curve.y[place] == pytest.approx(
            mean, rel=1e-9, abs=1e-9 * np.abs(finite).max(initial=1e-290), nan_ok=True
        )
        assert curve.low is not None and curve.high is not None
        for edge, least in ((curve.low, np.fmin), (curve.high, np.fmax)):
            assert edge[place] == pytest.approx(least.reduce(stretch), nan_ok=True, abs=0, rel=0)


@settings(max_examples=100, deadline=None)
@given(VALUES, st.integers(2, 60), st.sampled_from([2, 3, 8]))
def test_stretches_of_a_packed_level_are_those_of_the_points(values: list[float], most: int, block: int) -> None:
    told = Points.of(range(len(values)), range(len(values)), values)
    blocks = means.unpacked(means.packed(told, block, Means.of_blocks(told, block)), block, len(told))
    assert blocks is not None
    assert blocks.counts.sum() == len(values)
    whole = Means.of_blocks(told, block)
    for name in ("counts", "finite", "mean", "low", "high"):
        np.testing.assert_array_equal(getattr(blocks, name), getattr(whole, name))
    for steps, some in ((np.arange(0, len(values), block), whole), (np.arange(len(values)), Means.of(told))):
        curve = some.curve("step", most)
        assert len(curve) <= most
        assert set(curve.x) <= {*steps.tolist()}
        is_of(curve, told.steps, told.values)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    portions=st.lists(st.integers(1, 4000), min_size=1, max_size=8),
    odd=st.lists(st.tuples(st.integers(0, 31_999), st.sampled_from([math.nan, math.inf, -math.inf, 1e308, -3.0]))),
    window=st.tuples(st.integers(0, 32_000), st.integers(0, 32_000)),
    most=st.integers(2, 300),
)
def test_any_zoom_into_any_portions_is_what_numpy_says_of_all_points(
    db: Database,
    portions: list[int],
    odd: list[tuple[int, float]],
    window: tuple[int, int],
    most: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Levels of few points, so that all of them are used; the last portion waits as a batch."""
    monkeypatch.setattr(segments, "SEGMENT_POINTS", 1024)
    values = noisy(sum(portions) + 10)[: sum(portions)]
    for place, value in odd:
        values[place % len(values)] = value
    with db.write() as session:
        run = add_run(session)
        writer = Writer(run_id=run.id, name="w", restarts=0, first_step=0, batches=0)
        session.add(writer)
        session.flush()
        start = 0
        for number, count in enumerate(portions):
            part = points(values[start : start + count], start)
            if number < len(portions) - 1:
                segments.extend(session, run.id, "w", {"loss": part})
            else:
                series.append(session, writer, {"loss": part})
            start += count
    first, last = min(window), max(window)
    drawn = _drawn(monkeypatch)
    with db.read() as session:
        found = charts.read(session, run.id, "loss", x_min=first, x_max=last, max_points=most, thin="mean")
    inside = values[first : last + 1]
    assert found.count == len(inside)
    assert len(found.curve) <= most
    if found.curve.x.size:
        _about(found.curve, first, inside)
        _are_exact(drawn[-1], inside)


def _drawn(monkeypatch: pytest.MonkeyPatch) -> list[Means]:
    """The stretches of each chart that is drawn from now on."""
    drawn, joined, together = list[Means](), Means.joined, Means.together

    def keep(make: Callable[..., Means], *given: Any) -> Means:
        drawn.append(make(*given))
        return drawn[-1]

    monkeypatch.setattr(Means, "joined", staticmethod(lambda pieces: keep(joined, pieces)))
    monkeypatch.setattr(Means, "together", lambda self, starts: keep(together, self, starts))
    return drawn


def _are_exact(stretches: Means, inside: Floats) -> None:
    """Each of the points is in one stretch, and the mean of a stretch is what numpy says of its points."""
    ends = np.cumsum(stretches.counts)
    assert ends[-1] == len(inside)
    for stretch, mean, count in zip(np.split(inside, ends[:-1]), stretches.mean, stretches.finite, strict=True):
        finite = stretch[np.isfinite(stretch)]
        assert count == len(finite)
        expected = np.mean(finite / 2**8) * 2**8 if len(finite) else 0.0
        assert mean == pytest.approx(expected, rel=1e-9, abs=1e-9 * np.abs(finite).max(initial=1e-290))


def _about(curve: Curve, first: int, inside: Floats) -> None:
    """What holds wherever stretches begin: no extreme is lost, and a mean is within its range."""
    assert curve.low is not None and curve.high is not None
    assert np.fmin.reduce(curve.low) == pytest.approx(np.fmin.reduce(inside), nan_ok=True)
    assert np.fmax.reduce(curve.high) == pytest.approx(np.fmax.reduce(inside), nan_ok=True)
    assert (np.diff(curve.x) > 0).all()
    assert first <= curve.x[0] and curve.x[-1] < first + len(inside)
    known = np.isfinite(curve.y)
    assert (curve.low[known] <= curve.y[known]).all() and (curve.y[known] <= curve.high[known]).all()


LONG = 2_000_000


@pytest.fixture(scope="module")
def long_values() -> Floats:
    """Falling, so that each zoom has another mean."""
    return noisy(LONG, seed=7)


@pytest.fixture
def long_run(db: Database, long_values: Floats) -> str:
    with db.write() as session:
        run_id = new_writer(session)
        segments.extend(session, run_id, "w", {"loss": points(long_values)})
    return run_id


@pytest.mark.parametrize("thin", ["mean", "extremes"])
def test_a_zoom_of_any_width_reads_a_bounded_amount(
    db: Database, long_run: str, long_values: Floats, thin: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At most the points of the two segments at its ends, and of others what the chart has room for, many times."""
    read = list[tuple[int, int]]()
    unpack = Points.unpacked

    def count(packed: bytes) -> Points:
        there = unpack(packed)
        read.append((len(there), len(packed)))
        return there

    monkeypatch.setattr(Points, "unpacked", count)
    drawn = _drawn(monkeypatch)
    room, chance = 100, np.random.default_rng(3)
    # The segments at both ends are read as they are, and so is a window of less than `room` fine blocks; else two or
    # three points of a fine block are read in a window of less than `room` coarse ones, and of a coarse one beyond.
    most_points = 2 * SEGMENT_POINTS + FINE * room + 3 * LONG // COARSE
    for width in [1, 10, *(2**power for power in range(5, 21)), LONG]:
        first = int(chance.integers(0, LONG - width + 1))
        read.clear()
        with db.read() as session:
            found = charts.read(
                session, long_run, "loss", x_min=first, x_max=first + width - 1, max_points=room, thin=thin
            )
        assert found.count == width
        assert len(found.curve) <= room
        assert sum(points for points, _ in read) <= most_points
        assert sum(size for _, size in read) <= 10 * most_points
        assert len(read) <= 3 + LONG // SEGMENT_POINTS  # a row each
        inside = long_values[first : first + width]
        if thin == "mean":
            _about(found.curve, first, inside)
            _is_near(found.curve, first, inside)
            _are_exact(drawn[-1], inside)
    assert sum(points for points, _ in read) < LONG / 50  # all of it is read coarsely


def _is_near(curve: Curve, first: int, inside: Floats) -> None:
    """The stretches are those of the points from one x to the next one, give or take a block."""
    starts = np.asarray(curve.x - first, np.int64)
    for start, end, mean in zip(starts, [*starts[1:], len(inside)], curve.y, strict=True):
        near = inside[max(start - COARSE, 0) : end + COARSE]
        finite = near[np.isfinite(near)]
        if len(finite) and np.isfinite(mean):
            assert finite.min() <= mean <= finite.max()


def test_the_mean_of_means_is_the_mean_of_all_points(db: Database, long_run: str, long_values: Floats) -> None:
    """Two stretches of all, from whole blocks: the edges are where their points begin."""
    with db.read() as session:
        curve = charts.read(session, long_run, "loss", max_points=2, thin="mean").curve
    whole = Means.of_blocks(points(long_values), COARSE)
    assert len(curve) == 2
    half = int(np.searchsorted(np.cumsum(whole.counts) - whole.counts, LONG / 2)) * COARSE
    assert curve.y.tolist() == pytest.approx([_mean(long_values[:half]), _mean(long_values[half:])], rel=1e-2)


def _mean(values: Floats) -> float:
    return float(values[np.isfinite(values)].mean())


def test_segments_that_were_packed_without_means_are_drawn_as_if_they_had_them(db: Database) -> None:
    values = noisy(3 * COARSE)
    with db.write() as session:
        run_id = new_writer(session)
        segments.extend(session, run_id, "w", {"loss": points(values)})
    with db.read() as session:
        told = [charts.read(session, run_id, "loss", max_points=most, thin="mean").curve for most in (2, 20, 50)]
    with db.write() as session:
        for row in session.query(Segment).filter(Segment.run_id == run_id):
            before = {
                "fine": Points.unpacked(row.fine).packed() if row.fine else None,
                "coarse": Points.unpacked(row.coarse).packed() if row.coarse else None,
            }
            assert before["fine"] != row.fine
            session.execute(update(Segment).where(Segment.run_id == run_id).values(before))
    with db.read() as session:
        for most, curve in zip((2, 20, 50), told, strict=True):
            again = charts.read(session, run_id, "loss", max_points=most, thin="mean").curve
            assert again.y.tolist() == pytest.approx(curve.y.tolist(), nan_ok=True)
            assert (again.low.tolist(), again.high.tolist()) == (curve.low.tolist(), curve.high.tolist())
    with db.write() as session:
        tail = points(np.ones(SEGMENT_POINTS), len(values))
        segments.extend(session, run_id, "w", {"loss": tail})
        first = session.query(Segment).filter(Segment.run_id == run_id, Segment.start == 0).one()
        assert means.unpacked(first.fine, FINE, first.count) is not None  # packed again, and now with means


def test_means_go_over_attempts_and_leave_out_what_was_taken_back(db: Database) -> None:
    """Two attempts, the second from a checkpoint on, seen over step and over time."""
    with db.write() as session:
        run_id = new_writer(session)
        segments.extend(session, run_id, "w", {"loss": points(np.full(60_000, 2.0))})
        new_writer(session, run_id, "w2", restarts=1, first_step=40_000)
        segments.extend(session, run_id, "w2", {"loss": points(np.full(20_000, 1.0), 40_000)})
    with db.read() as session:
        found = charts.read(session, run_id, "loss", max_points=60, thin="mean")
        assert (found.count, found.hidden) == (60_000, 20_000)
        assert {*found.curve.y[found.curve.x < 39_000]} == {2.0}
        assert {*found.curve.y[found.curve.x >= 41_000]} == {1.0}
        every = charts.read(session, run_id, "loss", max_points=60, thin="mean", attempts="all", x="time")
        assert [(line.count, {*line.curve.y}) for line in every.lines or []] == [(60_000, {2.0}), (20_000, {1.0})]
        assert every.curve.x[0] == T0_US / 1e6
