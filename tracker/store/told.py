"""What the server tells running jobs: when Slurm will end them, and where an earlier attempt got to."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import func, select, tuple_
from sqlalchemy.orm import Session

from tracker.store.tables import Attempt, Run, Writer
from tracker.store.writers import SCRIPT


class Told(NamedTuple):
    """What a job should know. `last_step` is the greatest step that earlier attempts logged."""

    cluster: str
    job_id: int
    attempt: int
    ends_at: datetime | None
    last_step: int | None


def of_jobs(session: Session, jobs: Sequence[tuple[str, int]]) -> list[Told]:
    """What those of these jobs (cluster, job id) should know that run now."""
    if not jobs:
        return []
    last = select(func.max(Attempt.number)).where(Attempt.run_id == Run.id).correlate(Run).scalar_subquery()
    query = (
        select(Run, Attempt)
        .join(Attempt, (Attempt.run_id == Run.id) & (Attempt.number == last))
        .where(tuple_(Run.cluster, Run.job_id).in_(jobs), Run.state.in_(("RUNNING", "SUSPENDED")))
        .order_by(Run.created_at)
    )
    newest = {(run.cluster, run.job_id): (run, attempt) for run, attempt in session.execute(query)}
    steps = _last_steps(session, [run for run, attempt in newest.values() if attempt.number > 1])
    return [
        Told(str(cluster), int(job_id or 0), attempt.number, _ends_at(run, attempt), steps.get(run.id))
        for (cluster, job_id), (run, attempt) in newest.items()
    ]


def _ends_at(run: Run, attempt: Attempt) -> datetime | None:
    if attempt.started_at is None or attempt.ended_at is not None or run.time_limit_s is None:
        return None
    return attempt.started_at + timedelta(seconds=run.time_limit_s)


def _last_steps(session: Session, runs: Sequence[Run]) -> dict[str, int]:
    if not runs:
        return {}
    restarts = select(func.max(func.coalesce(Attempt.restarts, 0))).where(Attempt.run_id == Writer.run_id)
    query = (
        select(Writer.run_id, func.max(Writer.next_step))
        .where(Writer.run_id.in_([run.id for run in runs]), Writer.kind == SCRIPT, Writer.first_step.is_not(None))
        .where(Writer.restarts < restarts.correlate(Writer).scalar_subquery())
        .group_by(Writer.run_id)
    )
    return {run_id: next_step - 1 for run_id, next_step in session.execute(query)}
