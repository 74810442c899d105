"""Whole numbers of 64 bits come back as they were logged, from any mix, in any portions, however often compacted."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from tests.web.samples import add_run
from tracker.actions.read_points import PointLines
from tracker.store import batches, charts, compaction, exact, exports, levels, segments, series
from tracker.store.database import Database
from tracker.store.points import Points, columns_of
from tracker.store.tables import Batch, Segment, Writer

INT64 = st.integers(-(2**63), 2**63 - 1)
EDGES = st.sampled_from([2**53, 2**53 + 1, -(2**53) - 1, 2**62 + 1, 2**63 - 1, 2**63 - 512, -(2**63), -(2**63) + 1, 0])
NUMBERS = st.one_of(INT64, EDGES, st.booleans(), st.floats(width=64))


def same(got: list[float], told: list[float]) -> bool:
    """Whether numbers are equal to the last digit, and NaN where NaN was."""
    return len(got) == len(told) and all(a == b or (a != a and b != b) for a, b in zip(got, told, strict=True))


@settings(max_examples=200, deadline=None)
@given(st.lists(NUMBERS, max_size=50))
def test_a_float_and_its_rest_are_the_number(told: list[float]) -> None:
    there = Points.of(range(len(told)), range(len(told)), told)
    assert same(there.numbers(), told)
    assert same(Points.unpacked(there.packed()).numbers(), told)
    if there.rests is not None:
        assert np.abs(there.rests).max() <= 512
        assert len(exact.numbers(there.values, None)) == len(told)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(told=st.lists(st.tuples(NUMBERS, NUMBERS), min_size=1, max_size=120), data=st.data())
def test_any_mix_in_any_portions_comes_back_after_any_compactions(
    db: Database, told: list[tuple[float, float]], data: st.DataObject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segments, "SEGMENT_POINTS", 32)
    with db.write() as session:
        run = add_run(session)
        writer = Writer(run_id=run.id, name="w", restarts=0, first_step=0, batches=0)
        session.add(writer)
        session.flush()
        start = 0
        while start < len(told):
            end = start + data.draw(st.integers(1, 40))
            rows = told[start:end]
            steps = range(start, start + len(rows))
            columns = {name: [row[place] for row in rows] for place, name in enumerate("ab")}
            series.append(session, writer, {name: Points.of(steps, steps, one) for name, one in columns.items()})
            start = end
            if data.draw(st.booleans()):
                compaction.compact(session, run.id, "w")
        for place, name in enumerate("ab"):
            pieces = [one.points.numbers() for one in exports.points(session, run.id, [name])]
            assert same([number for piece in pieces for number in piece], [row[place] for row in told])
            curve = charts.read(session, run.id, name).curve
            assert same(exact.numbers(curve.y, curve.rests), [row[place] for row in told])


def test_an_older_tracker_can_read_all_of_it_rounded(db: Database) -> None:
    """Points with and without rests, in a segment with levels, in a small one and in a batch; and back again."""
    long = [2**53 + 1 + step for step in range(20_000)]
    told = {"long": long, "short": [2**63 - 1, 1], "plain": [0.5] * 600}
    with db.write() as session:
        run = add_run(session)
        writer = Writer(run_id=run.id, name="w", restarts=0, first_step=0, batches=0)
        session.add(writer)
        session.flush()
        for rounds in (1, 0):
            columns = {name: Points.of(range(len(one)), range(len(one)), one) for name, one in told.items()}
            series.append(session, writer, columns)
            if rounds:
                compaction.compact(session, run.id, "w")
    below = levels.all_levels()[levels.all_levels().index("0012") - 1]
    levels.downgrade(db.url, below)
    with db.read() as session:
        rows = session.execute(select(Segment.points, Segment.fine, Segment.coarse)).all()
        assert all(len(columns_of(one)) == 3 for row in rows for one in row if one is not None)
        (content,) = session.scalars(select(Batch.content))
        assert all(block.rests is None for block in batches.unpack(content))
    levels.upgrade(db.url)
    with db.read() as session:
        for name, values in told.items():
            found = [number for one in exports.points(session, run.id, [name]) for number in one.points.numbers()]
            assert found == [float(one) for one in values] * 2
        means = charts.read(session, run.id, "long", max_points=10, thin="mean").curve
        assert means.y[0] == pytest.approx(2.0**53)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.lists(st.sampled_from(["n", "m", "loss"]), min_size=1, max_size=3, unique=True), NUMBERS),
        min_size=1,
        max_size=30,
    )
)
def test_lines_of_a_spool_lose_nothing_on_their_way_into_batches(told: list[tuple[list[str], float]]) -> None:
    words = {math.inf: "Infinity", -math.inf: "-Infinity"}
    taken, expected = PointLines(), dict[str, list[float]]()
    for step, (names, value) in enumerate(told):
        word = "NaN" if value != value else words.get(value, value)
        assert taken.take({"metrics": dict.fromkeys(names, word), "step": step})
        for name in names:
            expected.setdefault(name, []).append(value)
    blocks = batches.unpack(batches.pack(taken.blocks(start=0, now_us=0, skew_us=0)))
    found = {name: points.numbers() for name, points in batches.points_of(blocks).items()}
    assert found.keys() == expected.keys()
    assert all(same(found[name], expected[name]) for name in found)
