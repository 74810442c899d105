"""A run outside Slurm whose program died without a word is LOST after a while, and runs again when it speaks."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from tests.agent_side import ADMIN, Agent, hook, lines, points
from tracker.actions.add_points import Point, add_points
from tracker.actions.change_runs import Change, change
from tracker.actions.end_silent import end_silent
from tracker.store import experiments, results, runs, silence
from tracker.store.database import Database
from tracker.store.tables import Run

ID = "5d" * 16
UUID = "-".join(["5d5d5d5d", "5d5d", "5d5d", "5d5d", "5d5d5d5d5d5d"])
LOCAL = f"local.{ID}"
HOUR = timedelta(hours=1)
NOW = datetime.now(timezone.utc)


def later(hours: float = 2) -> datetime:
    return NOW + timedelta(hours=hours)


def made(db: Database, now: datetime = NOW, **facts: Any) -> str:
    """A run that a program made by the API."""
    with db.write() as session:
        told = {"state": "RUNNING", "state_source": "client", "user": "alice", "started_at": now, **facts}
        return runs.add(session, experiment=experiments.named(session, "mine", now), now=now, **told).id


def of(db: Database, run_id: str) -> Run:
    with db.read() as session:
        return runs.get(session, ADMIN, run_id)


def log(db: Database, run_id: str, at: datetime) -> None:
    with db.write() as session:
        run = runs.get_locked(session, ADMIN, run_id)
        add_points(session, run, [Point("loss", 1.0, None, None)], writer="", offset=None, now=at)


def test_who_falls_silent_is_lost_and_who_speaks_runs_again(db: Database) -> None:
    dead, alive, over = made(db), made(db), made(db, state="COMPLETED", ended_at=NOW)
    log(db, alive, later(1.5))
    assert end_silent(db, HOUR, later(0.5)) == 0
    assert end_silent(db, HOUR, later()) == 1
    assert end_silent(db, HOUR, later()) == 0
    run = of(db, dead)
    assert (run.state, run.state_source, run.reason, run.ended_at) == ("LOST", "client", silence.SILENT, NOW)
    assert run.updated_at == later()
    assert (of(db, alive).state, of(db, over).state) == ("RUNNING", "COMPLETED")
    log(db, dead, later(3))
    run = of(db, dead)
    assert (run.state, run.reason, run.ended_at) == ("RUNNING", None, None)
    assert end_silent(db, HOUR, later(5)) == 2


def test_its_results_follow_it(db: Database) -> None:
    run_id = made(db)
    log(db, run_id, NOW)
    end_silent(db, HOUR, later())
    with db.write() as session:
        assert results.make(session) == 1
    log(db, run_id, later(3))
    assert of(db, run_id).results_due


def test_an_end_that_is_told_after_all_is_the_end(db: Database) -> None:
    run_id = made(db)
    end_silent(db, HOUR, later())
    with db.write() as session:
        change(session, [runs.get_locked(session, ADMIN, run_id)], Change(state="COMPLETED"), later(3))
    run = of(db, run_id)
    assert (run.state, run.reason, run.ended_at) == ("COMPLETED", None, later(3))


def test_more_than_one_statement_takes_are_ended_all(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(silence, "RUNS_AT_ONCE", 2)
    ids = [made(db) for _ in range(5)]
    assert end_silent(db, HOUR, later()) == 5
    assert {of(db, one).state for one in ids} == {"LOST"}


def test_a_job_is_never_silent_nor_what_its_script_began(db: Database) -> None:
    agent = Agent(db)
    agent.send(hook("prolog", 12, at=NOW.timestamp()))
    agent.send(lines("dev.12", *points(1)), lines("dev.12", *points(1), writer=f"run_{ID}_w1"))
    assert end_silent(db, HOUR, later()) == 0
    assert of(db, UUID).state == "RUNNING"


def test_one_that_began_others_is_not_silent_while_they_speak(db: Database) -> None:
    parent = made(db)
    child = made(db, parent_id=parent)
    log(db, child, later(1.5))
    assert end_silent(db, HOUR, later()) == 0
    end_silent(db, HOUR, later(4))
    assert (of(db, parent).state, of(db, child).state) == ("LOST", "LOST")


def test_lines_of_a_spool_are_heard_and_its_folder_stays(db: Database) -> None:
    agent = Agent(db, cluster=None)
    sent = lines(LOCAL, *points(3))
    agent.send(sent)
    assert end_silent(db, HOUR, later()) == 1
    assert agent.send(folders=(LOCAL,))["release"] == []  # its script may still be writing there
    agent.send(sent)  # once more what is there already says nothing
    assert of(db, UUID).state == "LOST"
    more = lines(LOCAL, *points(1, first=3), offset=len(sent[1]))
    agent.send(more)
    assert (of(db, UUID).state, of(db, UUID).ended_at) == ("RUNNING", None)
    end_silent(db, HOUR, later())
    finish = {"event": "finish", "exit_code": 0, "time": NOW.timestamp()}
    agent.send(lines(LOCAL, finish, offset=len(sent[1]) + len(more[1])))
    assert (of(db, UUID).state, of(db, UUID).reason) == ("COMPLETED", None)
    assert agent.send(folders=(LOCAL,))["release"] == [LOCAL]


def test_an_agent_that_saw_it_die_has_the_last_word(db: Database) -> None:
    agent = Agent(db, cluster=None)
    sent = lines(LOCAL, *points(3))
    agent.send(sent)
    end_silent(db, HOUR, later())
    agent.send(({"type": "gone", "folder": LOCAL, "time": NOW.timestamp()}, b""))
    assert of(db, UUID).reason == "its process is gone and said no goodbye"
    agent.send(lines(LOCAL, *points(1), offset=len(sent[1])))
    assert of(db, UUID).state == "LOST"
    assert agent.send(folders=(LOCAL,))["release"] == [LOCAL]


@pytest.mark.parametrize(("lost_after_s", "state"), [("600", "LOST"), ("0", "RUNNING")])
def test_the_server_does_it_as_a_chore_unless_it_is_told_not_to(db: Database, lost_after_s: str, state: str) -> None:
    run_id = made(db, NOW - HOUR)
    environ = os.environ | {"TRACKER_DATABASE": db.url, "TRACKER_LOST_AFTER_S": lost_after_s}
    subprocess.run([sys.executable, "-m", "tracker", "chores", "--once"], env=environ, check=True, timeout=120)
    assert of(db, run_id).state == state
