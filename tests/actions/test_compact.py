"""Compaction: whoever does it, whenever it is killed and whatever comes meanwhile, each point is there once."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
import time
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from sqlalchemy import func, select

from tests.actions.test_attempts_and_ranks import header, log
from tests.agent_side import ADMIN, Agent, lines
from tests.conftest import ROOT, wait_until
from tracker.actions.compact import QUIET_FOR, compact_due, compact_quiet
from tracker.store import batches, charts, compaction, runs
from tracker.store.database import Database
from tracker.store.tables import Batch, Segment

JOB = "dev.12"
TURN_OF = batches.turn_of


@pytest.fixture(autouse=True)
def each_in_the_same_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "turn_of", lambda _run_id, _writer: 0)


def send(db: Database, requests: int, writer: str = "a", first: int = 0, each: int = 3) -> None:
    """So many requests of a writer, each with some points of two metrics."""
    offset = 0
    for request in range(requests):
        said: list[Any] = [] if request else [header()]
        for step in range(first + request * each, first + (request + 1) * each):
            said.append({"metrics": {"loss": 1 / (step + 1), "lr": step / 7}, "step": step, "time": 1.7e9 + step})
        offset = Agent(db).send(lines(JOB, *said, writer=writer, offset=offset))["parts"][0]["offset"]


def count(db: Database, table: type) -> int:
    with db.read() as session:
        return session.scalar(select(func.count()).select_from(table)) or 0


def told(db: Database, metric: str = "loss") -> tuple[list[float], list[float]]:
    with db.read() as session:
        curve = charts.read(session, runs.get(session, ADMIN, "dev:12").id, metric, max_points=100_000).curve
        return curve.x.tolist(), curve.y.tolist()


def test_batches_become_segments_when_they_are_many(db: Database) -> None:
    send(db, batches.MANY - 1)
    assert compact_due(db) == 0
    before = told(db), told(db, "lr")
    send(db, batches.MANY, "b", first=1000)
    assert compact_due(db) == 1
    assert (count(db, Segment), count(db, Batch)) == (2, batches.MANY - 1)
    after = told(db)
    assert (after[0][: len(before[0][0])], after[1][: len(before[0][0])]) == before[0]
    assert compact_due(db) == 0


def test_writers_that_began_at_once_are_not_due_at_once() -> None:
    turns = {TURN_OF(f"run {run}", f"w{node}") for run in range(8) for node in range(100)}
    assert turns == set(range(batches.MANY))


def test_what_a_quiet_run_left_is_compacted_too(db: Database) -> None:
    send(db, 3)
    now = datetime.now(timezone.utc)
    before = told(db)
    assert compact_quiet(db, now) == 0
    assert compact_quiet(db, now + QUIET_FOR + timedelta(seconds=60)) == 1
    assert (count(db, Segment), count(db, Batch), told(db)) == (2, 0, before)


def test_one_request_with_very_many_points_waits_for_no_others(db: Database) -> None:
    values = [float(step) for step in range(batches.MANY_POINTS)]
    Agent(db).send(lines(JOB, header(), *log(*values, first=0), writer="a"))
    assert compact_due(db) == 1
    assert told(db)[1] == values


def test_more_than_fits_into_memory_is_compacted_in_portions(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compaction, "MOST_POINTS", 20)
    send(db, batches.MANY)
    before = told(db), told(db, "lr")
    assert compact_due(db) == 1
    assert (count(db, Batch), told(db), told(db, "lr")) == (0, *before)


def chores(db: Database) -> subprocess.Popen[bytes]:
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "TRACKER_DATABASE": db.url}
    return subprocess.Popen([sys.executable, "-m", "tracker", "chores", "--once"], env=environ)


def _kill_in_the_middle(db: Database, after_s: float) -> None:
    left, process = count(db, Batch), chores(db)
    wait_until(lambda: process.poll() is not None or count(db, Batch) < left, within_s=120, pause_s=0.002)
    time.sleep(after_s)
    process.kill()
    process.wait()


def test_a_compaction_that_is_killed_loses_and_doubles_nothing(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed as soon as something has changed in the database, again and again, and looked at each time."""
    monkeypatch.setattr(batches, "MANY", 2)  # every second batch makes its writer due
    for writer in range(8):
        send(db, 4, f"w{writer}", first=100 * writer, each=4)
    expected = told(db), told(db, "lr")
    chance = random.Random(3)
    for _ in range(3):
        _kill_in_the_middle(db, chance.choice([0, 0.001, 0.003]))
        assert (told(db), told(db, "lr")) == expected
    assert chores(db).wait(timeout=120) == 0
    assert (count(db, Batch), told(db), told(db, "lr")) == (0, *expected)


def test_servers_that_compact_at_once_and_requests_meanwhile_do_not_harm_each_other(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "MANY", 4)
    problems: list[BaseException] = []
    is_over = threading.Event()

    def again_and_again() -> None:
        own = Database(db.url)
        try:
            while not is_over.is_set():
                compact_due(own)
                xs, _ = told(own) if count(own, Batch) else ([], [])
                assert xs == sorted(set(xs))
        except BaseException as problem:
            problems.append(problem)
        own.close()

    send(db, 1)
    threads = [threading.Thread(target=again_and_again) for _ in range(3)]
    for thread in threads:
        thread.start()
    for writer in range(4):
        send(db, 16, f"w{writer}", first=1000 * (writer + 1))
    is_over.set()
    for thread in threads:
        thread.join()
    assert problems == []
    compact_due(db)
    expected = [*range(3), *(1000 * (writer + 1) + step for writer in range(4) for step in range(48))]
    assert told(db)[0] == expected
