"""Lines that go on where this server stored the last ones are stored by one statement, whatever became of their run."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, event, select, text, update

from tests.agent_side import ADMIN, Agent, hook, lines, points
from tracker.actions import ingest
from tracker.actions.compact import compact_run
from tracker.actions.join_tasks import ArrayTask, join_tasks
from tracker.errors import DatabaseUnavailable
from tracker.store import experiments, exports, results, runs
from tracker.store.database import Database
from tracker.store.tables import Run, Writer

on_postgresql = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
JOB = "dev.12"


@pytest.fixture
def said(db: Database) -> list[str]:
    """The statements of both kinds of connections."""
    told: list[str] = []
    for engine in filter(None, (db.engine, db.by_key_engine)):
        event.listen(engine, "before_cursor_execute", lambda *seen: told.append(seen[2]))
    return told


def kept(db: Database, job_id: int = 12) -> dict[str, Any]:
    """All points of the job's run by metric and writer, its summary, and how far its writers are."""
    with db.read() as session:
        run = runs.get(session, ADMIN, f"dev:{job_id}")
        series: dict[tuple[str, int | None], list[tuple[int, int, float]]] = {}
        for one in exports.points(session, run.id):
            columns = one.points.steps.tolist(), one.points.times_us.tolist(), one.points.values.tolist()
            series.setdefault((one.metric, one.rank), []).extend(zip(*columns, strict=True))
        query = select(Writer.name, Writer.offset_bytes, Writer.next_step).where(Writer.run_id == run.id)
        summary = {
            one.metric: (one.last, one.last_step, one.min, one.max, one.total, one.count, round(one.spread or 0, 6))
            for one in run.summary
        }
        return {"series": series, "summary": summary, "writers": set(map(tuple, session.execute(query)))}


@on_postgresql
def test_lines_that_go_on_are_one_statement_and_what_a_node_is_told_three(db: Database, said: list[str]) -> None:
    agent, folders = Agent(db), [f"dev.{job}" for job in range(1, 9)]
    offset = 0
    for number, (most, on_its_way_s) in enumerate(((99, 0), (4, 0), (4, 5))):
        said.clear()
        agent.skew_s = on_its_way_s
        some = [lines(folder, *points(2, first=2 * number), offset=offset) for folder in folders]
        offset = agent.send(*some, present=tuple(folders))["parts"][0]["offset"]
        assert len([one for one in said if not one.startswith("NOTIFY")]) <= most, said
    assert {kept(db, job)["summary"]["loss"][5] for job in range(1, 9)} == {6}


@on_postgresql
def test_of_one_who_sees_no_node_it_is_one_statement(db: Database, said: list[str]) -> None:
    agent, folder, offset = Agent(db, cluster=None, shared=True), f"local.{'0' * 31}1", 0
    for first in range(3):
        said.clear()
        offset = agent.send(lines(folder, *points(1, first=first), offset=offset))["parts"][0]["offset"]
    assert len([one for one in said if not one.startswith("NOTIFY")]) == 1, said


LINES = [
    {
        "metrics": {"loss": number, "acc": -number} if number % 3 else {"loss": number},
        "time": 1.7e9 + number,
        **({} if number % 5 == 2 else {"step": number * 2}),
    }
    for number in range(14)
]
HEADERS = [{"event": "writer", "version": 1, "node": "n1", "rank": rank, "time": 1.7e9} for rank in (0, 1)]
FILES = [[json.dumps(one).encode() + b"\n" for one in (header, *LINES)] for header in HEADERS]
PIECES = st.tuples(st.integers(0, 1), st.integers(0, 1), st.integers(0, 3), st.integers(0, 4))
"""By which server, of which rank, how many lines again, and how many new ones."""


def length(rank: int, count: int) -> int:
    """Bytes of so many lines."""
    return sum(map(len, FILES[rank][:count]))


def sent(folder: str, rank: int, first: int = 0, end: int | None = None) -> tuple[dict[str, Any], bytes]:
    part, _ = lines(folder, writer=f"r{rank}", offset=length(rank, first))
    return part, b"".join(FILES[rank][first:end])


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(PIECES, min_size=1, max_size=2), max_size=12))
def test_any_split_and_repetition_by_two_servers_comes_to_the_same(
    db: Database, deliveries: list[list[tuple[int, int, int, int]]]
) -> None:
    _forget_all(db)
    servers, done = (Agent(db, "n1"), Agent(db, "n2")), [0, 0]
    for delivery in [*deliveries, [(0, 0, 0, 99)], [(1, 1, 0, 99)]]:
        parts, ends = [], []
        for _, rank, again, more in delivery:
            first, end = max(done[rank] - again, 0), min(done[rank] + more, len(FILES[rank]))
            parts.append(sent(JOB, rank, first, end))
            ends.append((rank, first, end))
        answers = servers[delivery[0][0]].send(*parts)["parts"]
        for (rank, first, end), answer in zip(ends, answers, strict=True):
            if first == done[rank]:
                done[rank] = end
            assert answer == {"offset": length(rank, done[rank])}
    Agent(db).send(sent("dev.13", 0), sent("dev.13", 1))
    assert kept(db) == kept(db, 13)


def _forget_all(db: Database) -> None:
    with db.write() as session:
        session.execute(delete(Run))


def _ended(db: Database) -> None:
    with db.write() as session:
        session.execute(update(Run).values(state="COMPLETED", ended_at=datetime.now(timezone.utc)))
        assert results.make(session) == 1


def _joined(db: Database) -> None:
    with db.write() as session:
        now = datetime.now(timezone.utc)
        told = {"cluster": "dev", "state": "PENDING", "state_source": "queue", "array_job_id": 10, "array_task_id": 2}
        runs.add(session, experiment=experiments.named(session, experiments.DEFAULT, now), now=now, **told)
        join_tasks(session, "dev", [ArrayTask(12, 10, 2, None)])


def _stored_elsewhere(db: Database) -> None:
    Agent(db).send(lines(JOB, *points(1, first=4), offset=len(lines(JOB, *points(4))[1])))


def _compacted(db: Database) -> None:
    with db.read() as session:
        run_id = runs.get(session, ADMIN, "dev:12").id
    compact_run(db, run_id)


@pytest.mark.parametrize("meanwhile", [_ended, _joined, _stored_elsewhere, _compacted])
def test_whatever_becomes_of_a_run_each_of_its_points_is_stored_once(
    db: Database, meanwhile: Callable[[Database], None]
) -> None:
    agent, offset = Agent(db), 0
    for first in (0, 2):
        offset = agent.send(lines(JOB, *points(2, first=first), offset=offset))["parts"][0]["offset"]
    meanwhile(db)
    for first in (4, 5, 6):
        more = lines(JOB, *points(1, first=first), offset=offset)
        answer = agent.send(more)["parts"][0]
        offset += len(more[1])
        assert answer == {"offset": offset}
    found = kept(db)
    assert [step for step, *_ in found["series"]["loss", 0]] == [*range(7)]
    assert found["summary"]["loss"][5] == 7
    with db.read() as session:
        assert runs.get(session, ADMIN, "dev:12").results_due


def test_a_run_that_is_gone_is_begun_anew(db: Database) -> None:
    agent, offset = Agent(db), 0
    for first in (0, 2):
        offset = agent.send(lines(JOB, *points(2, first=first), offset=offset))["parts"][0]["offset"]
    _forget_all(db)
    assert agent.send(lines(JOB, *points(2, first=4), offset=offset))["parts"] == [{"offset": 0}]
    agent.send(lines(JOB, *points(6)))
    assert [step for step, *_ in kept(db)["series"]["loss", 0]] == [*range(6)]


def test_who_turns_out_to_be_another_user_is_refused(db: Database) -> None:
    agent, offset = Agent(db), 0
    for first in (0, 2):
        offset = agent.send(lines(JOB, *points(2, first=first), offset=offset))["parts"][0]["offset"]
    with db.write() as session:
        session.execute(update(Run).values(user="bob"))
    (refused,) = agent.send(lines(JOB, *points(2, first=4), offset=offset))["parts"]
    assert refused["error"]["code"] == "bad_input"
    assert kept(db)["summary"]["loss"][5] == 4


@on_postgresql
def test_connections_that_are_cut_lose_nothing(db: Database) -> None:
    agent, offset = Agent(db), 0
    for first in range(0, 8, 2):
        offset = agent.send(lines(JOB, *points(2, first=first), offset=offset))["parts"][0]["offset"]
        with db.read() as session:
            mine = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
            session.execute(text(f"{mine} AND datname = current_database() AND query LIKE '%tracker_%'"))
    assert [step for step, *_ in kept(db)["series"]["loss", 0]] == [*range(8)]


@on_postgresql
def test_what_a_transaction_that_failed_remembered_is_not_taken_for_stored(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, elsewhere, now_s = Agent(db), Agent(db, "n2"), time.time()
    here.send(hook("prolog", 12, at=now_s), lines(JOB, *points(1), writer="other"))
    with monkeypatch.context() as fault, pytest.raises(DatabaseUnavailable):
        fault.setattr(ingest, "tell", _away)
        here.send(lines(JOB, *points(2)))
    elsewhere.send(hook("prolog", 12, at=now_s + 1, pid=2, SLURM_JOB_RESTART_COUNT=1))
    offset = elsewhere.send(lines(JOB, *points(2)))["parts"][0]["offset"]
    here.send(lines(JOB, *points(2, first=2), offset=offset))
    assert kept(db)["summary"]["loss"][:2] == (1 / 4, 3)


def _away(*_told: object) -> None:
    raise DatabaseUnavailable("The database does not work now: it went away.")
