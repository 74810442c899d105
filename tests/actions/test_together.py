"""Requests that come at once are stored together: each has its own answer, and none suffers from its neighbours."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from typing import Any

import pytest
from sqlalchemy import func, select

from tests.agent_side import ADMIN, NODE, Agent, hook, lines, points
from tests.conftest import ROOT, wait_until
from tracker.actions.ingest import Door
from tracker.actions.together import Together, Undone
from tracker.errors import BadManifest
from tracker.store import runs
from tracker.store.database import Database
from tracker.store.tables import Run, Summary, Writer

Work = Callable[[], Any]


def at_once(door: Door, *work: Work) -> list[Any]:
    """What each answers, or raises, when all but the first come while the first is being stored."""
    held, go_on = threading.Event(), threading.Event()
    store = door.together.work

    def first(some: Sequence[Any]) -> Sequence[Any]:
        door.together.work = store
        held.set()
        go_on.wait()
        return store(some)

    door.together.work = first
    with ThreadPoolExecutor(len(work)) as pool:
        asked = [pool.submit(work[0])]
        held.wait()
        asked += [pool.submit(one) for one in work[1:]]
        wait_until(lambda: len(door.together.waiting) + sum(one.done() for one in asked) >= len(work) - 1)
        go_on.set()
        return [one.exception() or one.result() for one in asked]


def agents(db: Database, count: int) -> list[Agent]:
    """Agents of as many nodes, which share a door."""
    found = [Agent(db, f"n{node}") for node in range(count)]
    for one in found:
        one.door = found[0].door
    return found


def counts(db: Database) -> dict[int, int]:
    """Points by job."""
    query = select(Run.job_id, func.sum(Summary.count)).join(Summary, Summary.run_id == Run.id).group_by(Run.job_id)
    with db.read() as session:
        return {job_id: int(points) for job_id, points in session.execute(query)}


def test_good_bad_and_repeated_requests_at_once(db: Database) -> None:
    some = agents(db, 8)
    held = Agent(db).send(lines("dev.1", *points(2)))["parts"][0]["offset"]
    more = lines("dev.1", *points(1, first=2), offset=held)
    Agent(db).send(lines("dev.7", *points(1)))
    with db.write() as session:
        gone = runs.get_locked(session, ADMIN, "dev:7")
        gone.state = "COMPLETED"
        runs.remove(gone, datetime.now(timezone.utc))
    first_line = len(lines("dev.7", *points(1))[1])
    answers = at_once(
        some[0].door,
        lambda: some[0].send(lines("dev.10", *points(3))),
        lambda: some[1].send(more, present=("dev.1",)),
        lambda: some[2].send(more),  # the same, from another agent on the spool
        lambda: some[3].send(lines("dev.3", b"no JSON", *points(3))),
        lambda: some[4].send(lines("nowhere", *points(3)), lines("dev.4", *points(3))),
        lambda: some[5].door.take(NODE, b"{", datetime.now(timezone.utc)),
        lambda: some[6].send(hook("prolog", 6, at=1.7e9), lines("dev.6", *points(3))),
        lambda: some[7].send(lines("dev.7", *points(2, first=1), offset=first_line)),
        lambda: some[0].send(({"type": "unheard of"}, b""), lines("dev.8", *points(3))),
    )
    end = held + len(more[1])
    assert [answers[place]["parts"] for place in (1, 2)] == [[{"offset": end}], [{"offset": end}]]
    assert [one["folder"] for one in answers[1]["tell"]] == []
    assert "offset" in answers[3]["parts"][0]
    assert [list(part) for part in answers[4]["parts"]] == [["error"], ["offset"]]
    assert isinstance(answers[5], BadManifest)
    assert [list(part) for part in answers[6]["parts"]] == [["stored"], ["offset"]]
    assert [list(part) for part in answers[8]["parts"]] == [["error"], ["offset"]]
    assert counts(db) == {1: 3, 3: 3, 4: 3, 6: 3, 7: 3, 8: 3, 10: 3}
    with db.read() as session:
        assert session.scalar(select(Run.deleted_at).where(Run.job_id == 7)) is not None
        assert runs.get(session, ADMIN, "dev:6").state == "RUNNING"


def test_what_comes_meanwhile_is_stored_by_one_transaction(db: Database) -> None:
    some, sizes = agents(db, 9), list[int]()
    door = some[0].door
    store = door.together.work
    door.together.work = lambda several: (sizes.append(len(several)), store(several))[1]
    at_once(
        door, *(lambda one=one, job=job: one.send(lines(f"dev.{job}", *points(2))) for job, one in enumerate(some, 1))
    )
    assert sizes[-1] > 1
    assert counts(db) == dict.fromkeys(range(1, 10), 2)


def test_each_agent_is_told_of_its_own_jobs(db: Database) -> None:
    some = agents(db, 4)
    for node, one in enumerate(some):
        told = hook("prolog", node + 1, at=1.7e9, SLURMD_NODENAME=f"n{node}", SLURM_JOB_STDOUT=f"/out/{node}")
        one.send(told)
    answers = at_once(
        some[0].door,
        *(
            lambda one=one, job=job: one.send(lines(f"dev.{job}", *points(1)), present=(f"dev.{job}",))
            for job, one in enumerate(some, 1)
        ),
    )
    assert [[one["folder"] for one in answer["tell"]] for answer in answers] == [[f"dev.{job}"] for job in range(1, 5)]
    alone = [one.send(present=(f"dev.{job}",)) for job, one in enumerate(some, 1)]
    assert [answer["follow"] for answer in answers] == [answer["follow"] for answer in alone]


def test_a_failure_is_told_to_all_whom_it_concerns() -> None:
    def work(some: Sequence[int]) -> Sequence[int]:
        if 3 in some:
            raise LookupError("three")
        return [-one for one in some]

    together = Together(work)
    with pytest.raises(Undone) as raised:
        together.do(3)
    assert isinstance(raised.value.__cause__, LookupError)
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(together.do, range(4, 400))) == [-one for one in range(4, 400)]


def test_each_is_told_of_a_failure_by_an_error_of_its_own() -> None:
    held, go_on = threading.Event(), threading.Event()

    def work(some: Sequence[int]) -> Sequence[int]:
        if some == [0]:
            held.set()
            go_on.wait()
            return some
        raise LookupError("all of them")

    together = Together(work)
    with ThreadPoolExecutor(5) as pool:
        first = pool.submit(together.do, 0)
        held.wait()
        others = [pool.submit(together.do, number) for number in range(1, 5)]
        wait_until(lambda: len(together.waiting) == 4)
        go_on.set()
        raised = [one.exception() for one in others]
    assert first.result() == 0
    assert len({id(one) for one in raised}) == 4
    assert {str(one.__cause__) for one in raised if one} == {"all of them"}


def test_a_refused_part_undoes_nothing_of_its_neighbours(db: Database, caplog: pytest.LogCaptureFixture) -> None:
    some, sizes = agents(db, 4), list[int]()
    door = some[0].door
    store = door._store
    door._store = lambda several, take: (sizes.append(len(several)), store(several, take))[1]  # type: ignore[method-assign]
    unknown_log = {"type": "log", "folder": "dev.999", "stream": "stdout", "offset": 0}
    answers = at_once(
        door,
        lambda: some[0].send(lines("dev.1", *points(1))),
        lambda: some[1].send(lines("dev.2", *points(1)), ({"type": "unheard of"}, b"")),
        lambda: some[2].send((unknown_log, b"said"), hook("prolog", 3, at=1.7e9), lines("dev.3", *points(1))),
        lambda: some[3].send(lines("dev.4", *points(1))),
    )
    told = [[next(iter(part)) for part in answer["parts"]] for answer in answers]
    assert told == [["offset"], ["offset", "error"], ["error", "stored", "offset"], ["offset"]]
    assert sum(sizes) == 4  # none was stored twice
    assert counts(db) == dict.fromkeys(range(1, 5), 1)
    assert not caplog.records


def test_why_a_company_was_undone_is_in_the_log_once(db: Database, caplog: pytest.LogCaptureFixture) -> None:
    some = agents(db, 3)
    door = some[0].door
    store = door._store

    def broken(several: Sequence[Any], take: Any) -> Any:
        if len(several) > 1:
            raise LookupError("something of ours")
        return store(several, take)

    door._store = broken  # type: ignore[method-assign]
    at_once(
        door, *(lambda one=one, job=job: one.send(lines(f"dev.{job}", *points(1))) for job, one in enumerate(some, 1))
    )
    assert counts(db) == dict.fromkeys(range(1, 4), 1)
    (record,) = caplog.records
    assert record.exc_info and "something of ours" in str(record.exc_info[1])


DELIVER = """
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from tests.actions.test_together import agents
from tests.agent_side import lines, points
from tracker.store.database import Database
def deliver(one):
    number, agent = one
    offset = 0
    for step in range(200):
        offset = agent.send(lines(f"dev.{number}", *points(1, first=step), offset=offset))["parts"][0]["offset"]
        os.write(1, f"{number} {offset}\\n".encode())
with ThreadPoolExecutor(8) as pool:
    list(pool.map(deliver, enumerate(agents(Database(sys.argv[1]), 8), 1)))
"""


def test_what_a_killed_process_has_acknowledged_is_there(db: Database) -> None:
    """Threads of a process deliver until it is killed in the middle of it."""
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", DELIVER, db.url]
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said = [process.stdout.readline() for _ in range(100)]
        process.send_signal(signal.SIGKILL)
        said += process.stdout.readlines()
    acknowledged: dict[int, int] = {}
    for job, offset in (line.split() for line in said):
        acknowledged[int(job)] = int(offset)
    with db.read() as session:
        rows = session.execute(select(Run.job_id, Writer.offset_bytes).join(Writer, Writer.run_id == Run.id))
        held = {job: offset for job, offset in rows}
    assert acknowledged
    assert all(held[job] >= offset for job, offset in acknowledged.items())
    length = len(lines("dev.1", *points(1))[1])
    assert {job: offset // length for job, offset in held.items()}.keys() == counts(db).keys()
