"""What the server tells running jobs: when Slurm will end them, and where an earlier attempt got to."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import Connection, func, select
from sqlalchemy.orm import Session

from tracker.store.among import among
from tracker.store.planned import ONCE
from tracker.store.tables import Attempt, Run, Writer
from tracker.store.writers import SCRIPT


class Told(NamedTuple):
    """What a job should know. `last_step` is the greatest step that earlier attempts logged."""

    cluster: str
    job_id: int
    attempt: int
    ends_at: datetime | None
    last_step: int | None


def of_jobs(session: Session | Connection, jobs: Collection[tuple[str, int]]) -> list[Told]:
    """What those of these jobs (cluster, job id) should know that run now."""
    if not jobs:
        return []
    named = {"clusters": list({one for one, _ in jobs}), "jobs": list({one for _, one in jobs})}
    rows = [_Running(*row) for row in session.execute(_RUNNING, named)]
    newest = {(row.cluster, row.job_id): row for row in rows if (row.cluster, row.job_id) in set(jobs)}
    steps = _last_steps(session, [row.run_id for row in newest.values() if row.attempt > 1])
    return [Told(row.cluster, row.job_id, row.attempt, _ends_at(row), steps.get(row.run_id)) for row in newest.values()]


class _Running(NamedTuple):
    """A run that runs now, and its last attempt."""

    run_id: str
    cluster: str
    job_id: int
    time_limit_s: int | None
    attempt: int
    started_at: datetime | None
    ended_at: datetime | None


_runs, _attempts = Run.__table__.c, Attempt.__table__.c
_LAST = (
    select(func.max(_attempts.number)).where(_attempts.run_id == _runs.id).correlate(Run.__table__).scalar_subquery()
)
_RUNNING = (
    select(_runs.id, _runs.cluster, _runs.job_id, _runs.time_limit_s, _attempts.number, _attempts.started_at,
           _attempts.ended_at)
    .join(Attempt.__table__, _attempts.run_id == _runs.id)
    .where(_attempts.number == _LAST, _runs.state.in_(("RUNNING", "SUSPENDED")))
    .where(among(_runs.cluster, "clusters"))
    .where(among(_runs.job_id, "jobs"))
    .order_by(_runs.created_at)
    .execution_options(**ONCE)
)  # fmt: skip


def _ends_at(row: _Running) -> datetime | None:
    if row.started_at is None or row.ended_at is not None or row.time_limit_s is None:
        return None
    return row.started_at + timedelta(seconds=row.time_limit_s)


def _last_steps(session: Session | Connection, run_ids: Sequence[str]) -> dict[str, int]:
    if not run_ids:
        return {}
    restarts = select(func.max(func.coalesce(Attempt.restarts, 0))).where(Attempt.run_id == Writer.run_id)
    query = (
        select(Writer.run_id, func.max(Writer.next_step))
        .where(among(Writer.__table__.c.run_id, "runs"), Writer.kind == SCRIPT, Writer.first_step.is_not(None))
        .where(Writer.restarts < restarts.correlate(Writer).scalar_subquery())
        .group_by(Writer.run_id)
    )
    return {run_id: next_step - 1 for run_id, next_step in session.execute(query, {"runs": run_ids})}
