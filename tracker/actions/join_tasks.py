"""Make one run of two: a hook knows an array's starting task by its job id only, the queue knew it by array and task.

Slurm gives a task its job id when it starts, and a Prolog's environment does not name the array. Whoever learns both
names, from the queue or from accounting, joins what each of them had made.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from tracker.states import LIVE_STATES
from tracker.store import experiments, runs, twins
from tracker.store.database import Session
from tracker.store.tables import Run

_FACTS_OF_HOOKS = ("job_id", "name", "state", "state_source", "started_at", "ended_at", "exit_code", "signal")
_SAME = timedelta(seconds=1)


@dataclass(frozen=True)
class ArrayTask:
    """A task of an array that has a job id of its own. `submitted_at` is None after a requeue, which changes it."""

    job_id: int
    array_job_id: int
    array_task_id: int
    submitted_at: datetime | None


def join_tasks(session: Session, cluster: str, tasks: Iterable[ArrayTask]) -> None:
    """Leave one run, the one that waited, of each task of which there are two; the jobs must be reserved by then."""
    wanted = {(one.array_job_id, one.array_task_id): one for one in tasks}
    waiting = {
        (run.array_job_id, run.array_task_id): run
        for run in runs.without_job_id(session, cluster, wanted.keys())
        if _waited(run, wanted.get((run.array_job_id, run.array_task_id)))  # type: ignore[arg-type]
    }
    if not waiting:
        return
    started: dict[tuple[int, int], Run] = {}
    by_id = {wanted[key].job_id: wanted[key] for key in waiting}  # type: ignore[index]
    for run in runs.of_cluster(session, cluster, by_id):
        task = by_id[run.job_id or 0]
        if _started(run, task):
            started[task.array_job_id, task.array_task_id] = run
    joined = [(started[key], waiting[key]) for key in started]
    facts = [_facts(hooks, waited) for hooks, waited in joined]
    twins.absorb(session, joined)
    for (_, waited), told in zip(joined, facts, strict=True):
        runs.changes(waited, **told)


def _waited(run: Run, task: ArrayTask | None) -> bool:
    """Whether the queue made this run of the task before it had a job id; array ids are reused."""
    if task is None:
        return False
    return run.state in LIVE_STATES if task.submitted_at is None else _same_time(run, task)


def _started(run: Run, task: ArrayTask) -> bool:
    """Whether a hook, or accounting since, made this run with the task's job id; an array's last task has its id."""
    names = (run.array_job_id, run.array_task_id)
    return names in ((None, None), (task.array_job_id, task.array_task_id)) and _same_time(run, task)


def _same_time(run: Run, task: ArrayTask) -> bool:
    if run.submitted_at is None or task.submitted_at is None:
        return True
    return abs(run.submitted_at - task.submitted_at) <= _SAME


def _facts(hooks: Run, waited: Run) -> dict[str, Any]:
    """What the run of the hooks knows better than the one that waited."""
    facts: dict[str, Any] = {"job_id": hooks.job_id, "accounting_due": hooks.accounting_due or waited.accounting_due}
    if waited.state_source != "accounting":
        facts |= {fact: getattr(hooks, fact) for fact in _FACTS_OF_HOOKS}
    if hooks.experiment.name != experiments.DEFAULT:
        facts["experiment_id"] = hooks.experiment_id
    return facts
