"""What the watcher takes in of many jobs costs as many statements as of a few: an array may have thousands of tasks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import pytest
from sqlalchemy import event

from tests.actions.test_truth import JOB, RECORD, at
from tracker.actions.apply_queue import apply_queue
from tracker.actions.join_tasks import join_tasks
from tracker.actions.reconcile import reconcile, register_ended, tasks_of
from tracker.slurm.records import QueuedJob, Record
from tracker.store import runs
from tracker.store.database import Database

ARRAY = 5000


@contextmanager
def counted(db: Database) -> Iterator[list[str]]:
    """The statements that are executed meanwhile."""
    said: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if not statement.startswith("NOTIFY"):
            said.append(statement)

    event.listen(db.engine, "before_cursor_execute", note)
    try:
        yield said
    finally:
        event.remove(db.engine, "before_cursor_execute", note)


def waiting(task: int) -> QueuedJob:
    return replace(JOB, job_id=None, array_job_id=ARRAY, array_task_id=task, eligible_at=at(0))


def running(task: int) -> QueuedJob:
    more = {"started_at": at(10), "nodes": "n1", "batch_node": "n1", "stdout": f"/o/{task}", "stderr": f"/e/{task}"}
    return replace(waiting(task), job_id=task, state="RUNNING", reason=None, **more)


def record(task: int) -> Record:
    return replace(RECORD, job_id=task, array_job_id=ARRAY, array_task_ids=(task,))


def queue(db: Database, jobs: Sequence[QueuedJob]) -> None:
    with db.write() as session:
        apply_queue(session, "dev", jobs, at(1000))


def ended(db: Database, tasks: Sequence[int]) -> None:
    """They have ended, and accounting was asked about them."""
    records = [record(task) for task in tasks]
    with db.write() as session:
        join_tasks(session, "dev", tasks_of(records))
        due = runs.of_cluster(session, "dev", tasks)
        reconcile(session, due, records, set(), at(1000))
        assert len(due) == len(tasks)


def ended_unseen(db: Database, tasks: Sequence[int]) -> None:
    with db.write() as session:
        register_ended(session, "dev", [record(task) for task in tasks], at(1000))


STEPS: dict[str, Callable[[Database, Sequence[int]], None]] = {
    "they begin to wait": lambda db, tasks: queue(db, [waiting(task) for task in tasks]),
    "they wait for something else": lambda db, tasks: queue(
        db, [replace(waiting(task), reason="Resources") for task in tasks]
    ),
    "they start": lambda db, tasks: queue(db, [running(task) for task in tasks]),
    "accounting tells their ends": ended,
}


@pytest.mark.parametrize("steps", [STEPS, {"they ended unseen": ended_unseen}], ids=["seen", "unseen"])
def test_a_hundred_tasks_take_as_many_statements_as_ten(
    db: Database, steps: dict[str, Callable[[Database, Sequence[int]], None]]
) -> None:
    for step, take in steps.items():
        with counted(db) as of_ten:
            take(db, range(1, 11))
        with counted(db) as of_hundred:
            take(db, range(101, 201))
        assert len(of_hundred) <= len(of_ten) < 40, step
