"""Points as requests brought them: packed, read back in order, and made series of."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.agent_side import ADMIN, Agent, lines
from tests.web.samples import add_run
from tracker.store import batches, charts, compaction, runs, series
from tracker.store.batches import Block
from tracker.store.database import Database
from tracker.store.points import Points
from tracker.store.tables import Writer

INTS = st.integers(-(2**63), 2**63 - 1)
LINES = st.lists(
    st.tuples(
        st.lists(st.sampled_from(["loss", "acc", "a b", "\u202eé"]), min_size=1, max_size=3),
        INTS,
        INTS,
        st.floats(width=64),
    ),
    min_size=1,
    max_size=40,
)


def blocks_of(told: list[tuple[list[str], int, int, float]]) -> list[Block]:
    """Blocks of lines that have the same metrics; each metric of a line has another value."""
    found: dict[tuple[str, ...], list[tuple[int, int, int, float]]] = {}
    for place, (metrics, step, time_us, value) in enumerate(told):
        found.setdefault(tuple(metrics), []).append((place, step, time_us, value))
    blocks = []
    for metrics, rows in found.items():
        places, steps, times_us, values = zip(*rows, strict=True)
        matrix = np.array([[value if row == 0 else float(row) for value in values] for row in range(len(metrics))])
        ints = np.array(steps, np.int64), np.array(times_us, np.int64)
        blocks.append(Block(metrics, np.array(places, np.uint32), *ints, matrix))
    return blocks


@settings(max_examples=100, deadline=None)
@given(LINES)
def test_blocks_come_back_exactly_and_in_the_order_of_their_lines(told: list) -> None:
    back = batches.points_of(batches.unpack(batches.pack(blocks_of(told))))
    expected: dict[str, list[tuple[int, int, float]]] = {}
    for metrics, step, time_us, value in told:
        for row, metric in enumerate(metrics):
            expected.setdefault(metric, []).append((step, time_us, value if row == 0 else float(row)))
    assert back.keys() == expected.keys()
    for metric, points in expected.items():
        steps, times_us, values = zip(*points, strict=True)
        assert back[metric].steps.tolist() == list(steps)
        assert back[metric].times_us.tolist() == list(times_us)
        assert back[metric].values.tobytes() == np.array(values).tobytes()


def test_points_are_seen_before_and_after_they_are_made_series_of(db: Database) -> None:
    agent, offset = Agent(db), 0
    for first in (0, 3):
        told = [{"metrics": {"x": step, "y": -step}, "step": step, "time": 1.7e9} for step in range(first, first + 3)]
        offset = agent.send(lines("dev.12", *told, offset=offset))["parts"][0]["offset"]
    with db.read() as session:
        (run,) = runs.find(session, ADMIN).items
        before = charts.read(session, run.id, "x").curve
        assert [(one.writer, one.metric, len(one.points)) for one in batches.pending(session, run.id)] == [
            ("w1", "x", 6),
            ("w1", "y", 6),
        ]
    with db.write() as session:
        assert not compaction.compact(session, run.id, "w1"), "it is all in one go"
    with db.read() as session:
        after = charts.read(session, run.id, "x").curve
        assert batches.pending(session, run.id) == []
    assert before.x.tolist() == after.x.tolist() == list(range(6))
    assert before.y.tolist() == after.y.tolist()


def test_only_what_was_seen_is_removed(db: Database) -> None:
    with db.write() as session:
        told = Points.of([1], [1], [1.0])
        run = add_run(session).id
        writer = Writer(run_id=run, name="w")
        session.add(writer)
        session.flush()
        series.append(session, writer, {"x": told})
        (seen,) = batches.pending(session, run)
        series.append(session, writer, {"x": told})
        batches.remove(session, run, {seen.writer: seen.last})
        assert [len(one.points) for one in batches.pending(session, run)] == [1]
