"""Runs that a script in a job begins beside the job's own: separate, and never running for ever."""

from __future__ import annotations

import time
from typing import Any

import pytest
from sqlalchemy import select

from tests.agent_side import Agent, hook, lines, points
from tracker.states import FINAL_STATES
from tracker.store import runs
from tracker.store.database import Database
from tracker.store.tables import Run, Summary

ID = "5d" * 16
UUID = "-".join(["5d5d5d5d", "5d5d", "5d5d", "5d5d", "5d5d5d5d5d5d"])
WRITER = f"run_{ID}_w1"
HEADER = {"event": "writer", "version": 1, "run": ID, "time": 1.7e9, "argv": ["sweep.py"]}
GOODBYE = {"event": "finish", "exit_code": 0, "time": 1.7e9 + 9}


def of(db: Database) -> dict[str | None, Run]:
    """All runs, by the run they were begun in."""
    with db.read() as session:
        return {run.parent_id: run for run in session.scalars(select(Run))}


def begun(db: Database, *after: Any) -> tuple[Agent, int]:
    """A job that has logged a point to its own run and three to one beside it."""
    agent = Agent(db)
    agent.send(hook("prolog", 12, at=time.time() - 60))
    agent.send(lines("dev.12", {"event": "run", "experiment": "sweep"}, *points(1)))
    part = lines("dev.12", HEADER, *points(3), *after, writer=WRITER)
    agent.send(part)
    return agent, len(part[1])


def test_it_is_a_run_of_its_own_in_the_experiment_of_its_job(db: Database) -> None:
    begun(db)
    found = of(db)
    job = found.pop(None)
    run = found.pop(job.id)
    assert (run.id, run.state, run.experiment.name, run.user) == (UUID, "RUNNING", "sweep", "alice")
    assert (run.cluster, run.job_id, run.name) == (None, None, "sweep.py")
    with db.read() as session:
        counted = dict(session.execute(select(Summary.run_id, Summary.count)).all())
    assert counted == {job.id: 1, run.id: 3}
    assert found == {}


def test_its_goodbye_ends_it_and_not_the_job(db: Database) -> None:
    begun(db, {**GOODBYE, "exit_code": 3})
    found = of(db)
    job = found.pop(None)
    assert (job.state, found[job.id].state, found[job.id].exit_code) == ("RUNNING", "FAILED", 3)


@pytest.mark.parametrize(("job_state", "state"), [("COMPLETED", "LOST"), ("FAILED", "LOST"), ("TIMEOUT", "TIMEOUT")])
def test_without_a_goodbye_it_ends_with_its_job(db: Database, job_state: str, state: str) -> None:
    agent, end = begun(db)
    with db.write() as session:
        job = runs.lock(session, of(db)[None].id)
        assert job is not None
        runs.changes(job, state=job_state, state_source="accounting", ended_at=job.started_at)
        job.accounting_due = False
    assert job_state in FINAL_STATES
    assert agent.send(folders=("dev.12",))["release"] == ["dev.12"]
    assert (of(db)[job.id].state, of(db)[job.id].ended_at) == (state, job.ended_at)
    agent.send(lines("dev.12", GOODBYE, writer=WRITER, offset=end))
    assert of(db)[job.id].state == "COMPLETED"


def test_nobody_writes_into_a_run_that_was_begun_elsewhere(db: Database) -> None:
    agent, _ = begun(db)
    (answer,) = agent.send(lines("dev.13", *points(1), writer=WRITER))["parts"]
    assert "not begun in this folder's job" in answer["error"]["detail"]
