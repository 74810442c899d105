"""One run, many writers: steps go on, resumed steps are hidden and kept, and each rank is told apart."""

from __future__ import annotations

import random
import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import event

from tests.agent_side import ADMIN, Agent, hook, lines
from tracker.actions.compact import compact_quiet
from tracker.errors import NotFound
from tracker.store import batches, charts, runs
from tracker.store.charts import Chart
from tracker.store.database import Database
from tracker.store.tables import Run, Writer

JOB = "dev.12"
Line = dict[str, Any]


def header(rank: int = 0, restarts: int | None = 0, node: str = "n1", **more: Any) -> Line:
    """The first line of a file."""
    return {"event": "writer", "version": 1, "node": node, "rank": rank, "restart_count": restarts, **more}


def log(
    *values: float, first: int | None = None, metric: str = "loss", at: float = 1.7e9, every: int = 1
) -> list[Line]:  # fmt: skip
    """A line for each value, a second apart; without `first` their steps are omitted."""
    steps: list[Line] = [{} if first is None else {"step": first + every * index} for index in range(len(values))]
    return [
        {"metrics": {metric: value}, "time": at + index, **step}
        for index, (value, step) in enumerate(zip(values, steps, strict=True))
    ]


def run_of(db: Database, ident: str = "dev:12") -> Run:
    with db.read() as session:
        return runs.get(session, ADMIN, ident)


def chart(db: Database, metric: str = "loss", ident: str = "dev:12", **asked: Any) -> Chart:
    with db.read() as session:
        return charts.read(session, runs.get(session, ADMIN, ident).id, metric, **asked)


def shown(found: Chart) -> dict[float, float]:
    return dict(zip(found.curve.x.tolist(), found.curve.y.tolist(), strict=True))


def test_omitted_steps_count_on_after_a_requeue(db: Database) -> None:
    Agent(db).send(lines(JOB, header(), *log(5, 4, 3), writer="a"))
    Agent(db).send(lines(JOB, header(restarts=1), *log(2, 1, at=1.8e9), writer="b"))
    Agent(db).send(lines(JOB, header(restarts=2), *log(0, at=1.9e9), writer="c"))
    assert shown(chart(db)) == {0: 5, 1: 4, 2: 3, 3: 2, 4: 1, 5: 0}
    assert chart(db).hidden == 0


def test_omitted_steps_count_on_though_the_header_came_alone(db: Database) -> None:
    Agent(db).send(lines(JOB, header(restarts=1), writer="b"))
    Agent(db).send(lines(JOB, header(), *log(5, 4), writer="a"))
    raw = lines(JOB, header(restarts=1), writer="b")[1]
    Agent(db).send(lines(JOB, *log(3, at=1.8e9), writer="b", offset=len(raw)))
    assert shown(chart(db)) == {0: 5, 1: 4, 2: 3}


def test_each_rank_counts_on_by_itself(db: Database) -> None:
    for rank in range(2):
        Agent(db).send(lines(JOB, header(rank), *log(*range(3 + rank)), writer=f"a{rank}"))
    for rank in range(2):
        Agent(db).send(lines(JOB, header(rank, restarts=1), *log(9), writer=f"b{rank}"))
    assert [max(shown(chart(db, rank=rank))) for rank in range(2)] == [3, 4]


def test_two_writers_of_one_attempt_count_each_by_itself(db: Database) -> None:
    Agent(db).send(lines(JOB, header(), *log(1, 2), writer="a"), lines(JOB, header(), *log(3, 4), writer="b"))
    assert chart(db).curve.x.tolist() == [0, 0, 1, 1]


def test_a_file_without_a_header_is_of_the_attempt_in_which_it_came(db: Database) -> None:
    Agent(db).send(hook("prolog", 12, at=1.7e9), lines(JOB, *log(5, 4, 3), writer="a"))
    Agent(db).send(hook("epilog", 12, at=1.7e9 + 9))
    Agent(db).send(hook("prolog", 12, at=1.8e9, pid=2, SLURM_JOB_RESTART_COUNT=1))
    Agent(db).send(lines(JOB, *log(2, 1, at=1.8e9), writer="b"))
    assert shown(chart(db)) == {0: 5, 1: 4, 2: 3, 3: 2, 4: 1}
    with db.read() as session:
        assert session.get_one(Writer, (run_of(db).id, "b")).restarts == 1


def test_points_after_the_checkpoint_are_hidden_and_kept(db: Database) -> None:
    Agent(db).send(lines(JOB, header(), *log(*range(100, 110), first=0), writer="a"))
    Agent(db).send(lines(JOB, header(restarts=1), *log(6, 7, first=6, at=1.8e9), writer="b"))
    found = chart(db)
    assert shown(found) == {**{step: 100 + step for step in range(6)}, 6: 6, 7: 7}
    assert (found.count, found.hidden, found.lines) == (8, 4, None)
    over_time = chart(db, x="time")
    assert sorted(over_time.curve.y.tolist()) == sorted(found.curve.y.tolist())
    assert over_time.hidden == 4
    everything = chart(db, attempts="all")
    assert (everything.count, everything.hidden) == (12, 0)
    assert [(line.attempt, line.rank, line.node, line.count) for line in everything.lines or []] == [
        (1, 0, "n1", 10),
        (2, 0, "n1", 2),
    ]
    (summary,) = run_of(db).summary
    assert (summary.count, summary.last, summary.last_step, summary.max) == (12, 7, 7, 109)


def test_a_metric_of_the_earlier_attempt_waits_for_its_turn(db: Database) -> None:
    """Validation, each 5 steps: hidden from the checkpoint on already before it is logged again."""
    Agent(db).send(lines(JOB, header(), *log(*range(30), first=0), *log(*range(6), first=0, every=5, metric="val")))
    Agent(db).send(lines(JOB, header(restarts=1), *log(1, 2, first=12, at=1.8e9), writer="b"))
    assert chart(db, "val").curve.x.tolist() == [0, 5, 10]
    resumed = lines(JOB, header(restarts=1), *log(1, 2, first=12, at=1.8e9), writer="b")[1]
    more = log(9, first=15, at=1.8e9, metric="val")
    Agent(db).send(lines(JOB, *more, writer="b", offset=len(resumed)))
    assert shown(chart(db, "val")) == {0: 0, 5: 1, 10: 2, 15: 9}


def test_a_metric_over_epochs_hides_by_epochs(db: Database) -> None:
    epochs = log(*range(10), first=0, metric="epoch/accuracy")
    Agent(db).send(lines(JOB, header(), *log(*range(1000), first=0), *epochs, writer="a"))
    again = log(70, 80, first=7, metric="epoch/accuracy", at=1.8e9)
    Agent(db).send(lines(JOB, header(restarts=1), *log(5, first=700), *again, writer="b"))
    assert shown(chart(db, "epoch/accuracy")) == {**{step: step for step in range(7)}, 7: 70, 8: 80}
    assert (chart(db, max_points=2000).count, chart(db).hidden) == (701, 300)


def test_steps_that_repeat_or_go_back_within_an_attempt_are_all_shown(db: Database) -> None:
    Agent(db).send(lines(JOB, header(), *log(1, 2, 3, first=0), *log(4, 5, first=1, at=1.7e9 + 9)))
    assert chart(db).curve.x.tolist() == [0, 1, 1, 2, 2]
    assert chart(db).curve.y.tolist() == [1, 2, 4, 3, 5]


def test_every_rank_is_told_with_its_node(db: Database) -> None:
    for rank in range(8):
        said = log(*(rank + step for step in range(4)), first=0)
        Agent(db).send(lines(JOB, header(rank, node=f"n{rank // 4 + 1}"), *said, writer=f"r{rank}"))
    assert shown(chart(db)) == {0: 0, 1: 1, 2: 2, 3: 3}
    assert shown(chart(db, rank=5)) == {0: 5, 1: 6, 2: 7, 3: 8}
    every = chart(db, rank="all")
    told = [(line.rank, line.attempt, line.node, line.curve.y.tolist()) for line in every.lines or []]
    assert told == [(rank, 1, f"n{rank // 4 + 1}", [rank, rank + 1, rank + 2, rank + 3]) for rank in range(8)]
    mean = chart(db, rank="mean")
    assert (mean.curve.x.tolist(), mean.curve.y.tolist(), mean.ranks) == ([0, 1, 2, 3], [3.5, 4.5, 5.5, 6.5], 8)
    assert mean.curve.low is not None
    assert mean.curve.high is not None
    assert (mean.curve.low.tolist(), mean.curve.high.tolist()) == ([0, 1, 2, 3], [7, 8, 9, 10])
    assert chart(db, rank="mean", x="time").curve.y.tolist() == [3.5, 4.5, 5.5, 6.5]
    with pytest.raises(NotFound, match="by rank 8"):
        chart(db, rank=8)


def test_of_one_rank_only_its_own_points_are_read(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job may have thousands of ranks, and each has points that wait for compaction."""
    for rank in range(8):
        Agent(db).send(lines(JOB, header(rank), *log(rank), writer=f"r{rank}"))
    read, unpack = list[bytes](), batches.unpack
    monkeypatch.setattr(batches, "unpack", lambda content: (read.append(content), unpack(content))[1])
    assert shown(chart(db, rank=5)) == {0: 5}
    assert len(read) == 1
    with pytest.raises(NotFound, match="by rank 8"):
        chart(db, rank=8)


def test_the_mean_of_a_resumed_job_is_of_the_new_attempt(db: Database) -> None:
    for restarts, values in ((0, range(10)), (1, (50, 60, 70))):
        for rank in range(2):
            said = log(*(value + rank for value in values), first=6 * restarts, at=1.7e9 + 100 * restarts)
            Agent(db).send(lines(JOB, header(rank, restarts), *said, writer=f"w{rank}-{restarts}"))
    mean = chart(db, rank="mean")
    assert shown(mean) == {**{step: step + 0.5 for step in range(6)}, 6: 50.5, 7: 60.5, 8: 70.5}
    assert mean.hidden == 8
    apart = chart(db, rank="mean", attempts="all")
    assert [(line.rank, line.attempt, line.count) for line in apart.lines or []] == [(None, 1, 10), (None, 2, 3)]
    assert (apart.hidden, apart.ranks) == (0, 2)
    assert (apart.lines or [])[1].curve.y.tolist() == [50.5, 60.5, 70.5]


def test_the_default_is_the_lowest_rank_that_logged(db: Database) -> None:
    Agent(db).send(lines(JOB, header(0), *log(1, metric="loss"), writer="a"))
    Agent(db).send(lines(JOB, header(3), *log(7, metric="of three"), writer="b"))
    Agent(db).send(lines(JOB, header(5), *log(8, metric="of three"), writer="c"))
    assert chart(db, "of three").curve.y.tolist() == [7]
    assert {one.metric: one.last for one in run_of(db).summary} == {"loss": 1, "of three": 7}


def test_late_points_of_an_earlier_attempt_or_another_rank_are_not_the_last(db: Database) -> None:
    early = lines(JOB, header(), *log(5, first=0), writer="a")
    Agent(db).send(early, lines(JOB, header(1), *log(6, first=0), writer="other"))
    Agent(db).send(lines(JOB, header(0, 1), *log(1, first=1, at=1.8e9), writer="b"))
    late = lines(JOB, *log(4, 3, first=1, at=1.9e9), writer="a", offset=len(early[1]))
    Agent(db).send(late, lines(JOB, header(1, 1), *log(2, first=9, at=1.9e9), writer="c"))
    (summary,) = run_of(db).summary
    assert (summary.last, summary.last_step, summary.count, summary.min, summary.max) == (1, 1, 6, 1, 6)


def test_machines_are_told_by_node_and_take_no_part_in_steps(db: Database) -> None:
    metric = "system/cpu.percent"
    for restarts in range(2):
        for node in ("n1", "n2"):
            first_line = header(node=node, restarts=restarts, kind="machine")
            said = log(*range(10, 15), metric=metric, at=1.7e9 + 100 * restarts)
            Agent(db, node).send(lines(JOB, first_line, *said, writer=f"m-{node}-{restarts}"))
    Agent(db).send(lines(JOB, header(), *log(1, 2), writer="a"))
    Agent(db).send(lines(JOB, header(restarts=1), *log(3, at=1.8e9), writer="b"))
    assert shown(chart(db)) == {0: 1, 1: 2, 2: 3}
    machine = chart(db, metric, x="time")
    assert machine.hidden == 0
    assert [(line.rank, line.node, line.count) for line in machine.lines or []] == [(None, "n1", 10), (None, "n2", 10)]
    assert len(chart(db, metric, attempts="all").lines or []) == 4
    assert chart(db, metric, rank="mean").ranks == 2


def test_a_header_after_the_first_points_changes_nothing(db: Database) -> None:
    Agent(db).send(lines(JOB, header(2, node="n1"), *log(1), header(7, 3, node="n9", kind="machine"), *log(2)))
    with db.read() as session:
        writer = session.get_one(Writer, (run_of(db).id, "w1"))
    assert (writer.rank, writer.restarts, writer.node, writer.kind, writer.next_step) == (2, 0, "n1", "script", 2)


@pytest.mark.parametrize(
    "strange",
    [{"rank": -1}, {"rank": 2**40}, {"rank": "x"}, {"restart_count": 10**9}, {"restart_count": -1}, {"kind": 7},
     {"kind": "x" * 100}, {"node": "n" * 5000}, {"rank": [1]}],
)  # fmt: skip
def test_a_strange_header_harms_nothing(db: Database, strange: Line) -> None:
    Agent(db).send(lines(JOB, {**header(), **strange}, *log(1, 2)))
    assert chart(db).count == 2


def test_a_chart_of_many_ranks_has_limits_and_says_so(db: Database) -> None:
    parts = [lines(JOB, header(rank), *log(*range(50), first=0), writer=f"r{rank}") for rank in range(70)]
    Agent(db).send(*parts)
    every = chart(db, rank="all", max_points=650)
    assert (len(every.lines or []), every.lines_left_out) == (charts.MOST_LINES, 6)
    assert sum(len(line.curve) for line in every.lines or []) + len(every.curve) <= 650
    assert every.downsampled
    assert chart(db, rank="mean").ranks == 70


def test_a_chart_of_many_writers_costs_no_more_statements_than_one_of_few(db: Database) -> None:
    def statements(job: int, ranks: int, **asked: Any) -> int:
        folder = f"dev.{job}"
        Agent(db).send(*(lines(folder, header(rank), *log(1, 2), writer=f"r{rank}") for rank in range(ranks)))
        run = run_of(db, f"dev:{job}")
        said: list[str] = []

        def hear(*seen: Any) -> None:
            said.append(seen[2])

        with db.read() as session:
            session.connection()
            event.listen(db.engine, "before_cursor_execute", hear)
            charts.read(session, run.id, "loss", **asked)
            event.remove(db.engine, "before_cursor_execute", hear)
        return len(said)

    for number, asked in enumerate(({}, {"rank": "all"}, {"rank": "mean"}, {"rank": "all", "attempts": "all"})):
        few, many = statements(100 + number, 2, **asked), statements(200 + number, 64, **asked)
        assert many == few <= 4


# Any number of writers, each with lines that name a step, repeat one, go back, or name none.
STEPS = st.lists(st.one_of(st.none(), st.integers(-3, 40)), min_size=1, max_size=12)
WRITERS = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2), STEPS), min_size=1, max_size=5)


def _files(writers: Sequence[tuple[int, int, list[int | None]]]) -> list[tuple[str, list[Line]]]:
    """The files, those of earlier attempts first; every point has a time and a value of its own."""
    files, clock = [], 0
    for number, (rank, restarts, steps) in enumerate(sorted(writers, key=lambda one: one[1])):
        said: list[Line] = [header(rank, restarts)]
        for step in steps:
            clock += 1
            told = {} if step is None else {"step": step}
            said.append({"metrics": {"loss": float(clock)}, "time": 1.7e9 + clock, **told})
        files.append((f"w{number}", said))
    return files


def _all_that_is_told(db: Database, job: int) -> Any:
    ident = f"dev:{job}"
    told: list[Any] = [[(one.last, one.last_step, one.min, one.max, one.count) for one in run_of(db, ident).summary]]
    for asked in ({}, {"rank": "all"}, {"rank": "mean"}, {"attempts": "all"}, {"rank": "all", "attempts": "all"}):
        found = chart(db, ident=ident, **asked)
        lines_told = [(one.rank, one.attempt, one.curve.x.tolist(), one.curve.y.tolist()) for one in found.lines or []]
        told.append((found.curve.x.tolist(), found.curve.y.tolist(), found.hidden, lines_told))
    return told


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(WRITERS, st.integers(0, 2**32))
def test_any_split_into_requests_tells_the_same_and_repetitions_change_nothing(
    db: Database, writers: list[tuple[int, int, list[int | None]]], seed: int
) -> None:
    chance = random.Random(seed)
    whole, split = (uuid.uuid4().int % 10**9 for _ in range(2))
    for name, said in _files(writers):
        Agent(db).send(lines(f"dev.{whole}", *said, writer=name))
        part, raw = lines(f"dev.{split}", *said, writer=name)
        held = 0
        while held < len(raw):
            start = chance.choice([held, held, 0])  # a request is repeated now and then
            end = chance.randint(start + 1, len(raw))
            (answer,) = Agent(db).send(({**part, "offset": start}, raw[start:end]))["parts"]
            assert answer["offset"] >= held
            held = answer["offset"]
            if chance.random() < 0.3:
                compact_quiet(db, datetime.now(timezone.utc) + timedelta(days=1))
    assert _all_that_is_told(db, whole) == _all_that_is_told(db, split)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(WRITERS, st.integers(0, 2**32))
def test_files_with_given_steps_tell_the_same_in_any_order(
    db: Database, writers: list[tuple[int, int, list[int | None]]], seed: int
) -> None:
    files = _files([(rank, restarts, [step or 0 for step in steps]) for rank, restarts, steps in writers])
    chance = random.Random(seed)
    one, other = (uuid.uuid4().int % 10**9 for _ in range(2))
    for job in (one, other):
        for name, said in files:
            Agent(db).send(lines(f"dev.{job}", *said, writer=name))
        chance.shuffle(files)
    assert _all_that_is_told(db, one) == _all_that_is_told(db, other)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(WRITERS)
def test_what_is_shown_is_of_the_newest_attempt_that_had_the_step(
    db: Database, writers: list[tuple[int, int, list[int | None]]]
) -> None:
    job = uuid.uuid4().int % 10**9
    for name, said in _files(writers):
        Agent(db).send(lines(f"dev.{job}", *said, writer=name))
    for rank in {rank for rank, _, _ in writers}:
        asked = {"ident": f"dev:{job}", "rank": rank}
        seen, kept = chart(db, **asked), chart(db, **asked, attempts="all")
        assert seen.count + seen.hidden == kept.count
        assert kept.lines is not None
        newest: dict[float, set[float]] = {}
        for line in kept.lines:
            assert line.attempt == 1 or line.count
            newest = {step: values for step, values in newest.items() if step < line.curve.x[0]}
            for step, value in zip(line.curve.x.tolist(), line.curve.y.tolist(), strict=True):
                newest.setdefault(step, set()).add(value)
        for step, value in shown(seen).items():
            assert value in newest[step]
