"""Waits: what Slurm says of jobs that wait, their places in the queue, and how good its estimates of starts were.

A row of a job that started stays if Slurm had told when it would: for KEPT, and MOST_STARTED of a cluster at most.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, and_, bindparam, case, delete, func, or_, select
from sqlalchemy.orm import Session

from tracker.store.among import among
from tracker.store.tables import Cluster, Run, Wait
from tracker.store.upsert import upsert

NO_TASK = -1
KEPT = timedelta(days=30)
MOST_STARTED = 10_000
MOST_JUDGED = 500
"""So many of the newest starts of a partition tell how good estimates are."""
_WAITS = Wait.__table__.c
_REMOVED = delete(Wait.__table__).where(  # type: ignore[arg-type]  # a mapped class has a table
    _WAITS.cluster == bindparam("in"), _WAITS.job_id == bindparam("job"), _WAITS.task_id == bindparam("task")
)
_ESTIMATES = select(_WAITS.cluster, _WAITS.job_id, _WAITS.task_id, _WAITS.estimate_at).where(
    among(_WAITS.cluster, "clusters"), among(_WAITS.job_id, "jobs"), _WAITS.started_at.is_(None),
    _WAITS.estimate_at.is_not(None),
)  # fmt: skip
Key = tuple[int, int]
"""Job id, or array id and task; NO_TASK where there is none."""


def key_of(run: Run) -> Key | None:
    """How the run's job is told here; None outside Slurm."""
    if run.array_job_id is not None and run.array_task_id is not None:
        return run.array_job_id, run.array_task_id
    return None if run.job_id is None else (run.job_id, NO_TASK)


def waiting(session: Session, cluster: str) -> dict[Key, dict[str, Any]]:
    """What is kept of the cluster's waiting jobs, as rows without their keys."""
    names = [column.name for column in Wait.__table__.columns if column.name not in ("cluster", "job_id", "task_id")]
    query = select(_WAITS.job_id, _WAITS.task_id, *(_WAITS[name] for name in names))
    rows = session.execute(query.where(_WAITS.cluster == cluster, _WAITS.started_at.is_(None)))
    return {(job, task): dict(zip(names, facts, strict=True)) for job, task, *facts in rows}


def put(session: Session, cluster: str, rows: Mapping[Key, Mapping[str, Any]]) -> None:
    """Keep what is told of jobs in the place of what was."""
    upsert(
        session,
        Wait,
        [{"cluster": cluster, "job_id": job, "task_id": task, **row} for (job, task), row in rows.items()],
    )


def remove(session: Session, cluster: str, keys: Sequence[Key]) -> None:
    """Forget jobs that do not wait any more."""
    if keys:
        session.execute(_REMOVED, [{"in": cluster, "job": job, "task": task} for job, task in keys])


def prune(session: Session, cluster: str, now: datetime) -> None:
    """Forget old starts, and the oldest where there are too many."""
    newest = select(Wait.started_at).where(Wait.cluster == cluster, Wait.started_at.is_not(None))
    first_too_many = session.scalar(newest.order_by(Wait.started_at.desc()).offset(MOST_STARTED).limit(1))
    since = max(filter(None, (now - KEPT, first_too_many)))
    gone = delete(Wait).where(Wait.cluster == cluster, Wait.started_at <= since)
    session.execute(gone, execution_options={"synchronize_session": False})


def get(session: Session, run: Run) -> tuple[Wait, datetime | None] | None:
    """What Slurm says of the run's job, which waits, and when it said so."""
    key = key_of(run)
    if key is None or run.cluster is None:
        return None
    mine = select(Wait, Cluster.as_of).outerjoin(Cluster, Cluster.name == Wait.cluster)
    mine = mine.where(Wait.cluster == run.cluster, Wait.job_id == key[0], Wait.task_id == key[1])
    row = session.execute(mine.where(Wait.started_at.is_(None))).first()
    return None if row is None else (row[0], row[1])


def start_estimates(session: Session, runs: Iterable[Run]) -> dict[str, datetime]:
    """When Slurm expects these of the runs to start that wait, by run: one statement for any number of them."""
    keys = {(run.cluster, *key): run.id for run in runs if run.state == "PENDING" and (key := key_of(run))}
    if not keys:
        return {}
    asked = {"clusters": {one[0] for one in keys}, "jobs": {one[1] for one in keys}}
    rows = session.execute(_ESTIMATES, asked)
    return {keys[found]: at for *row, at in rows if (found := tuple(row)) in keys}


class Place(NamedTuple):
    """A job's place among those that are ready in its partitions, from 1; `theirs` of `of` jobs are its user's."""

    place: int
    of: int
    theirs: int


def place(session: Session, wait: Wait) -> Place | None:
    """Where the job stands: Slurm looks at them by priority, of equal ones at the one first that came first."""
    if not wait.ranked:
        return None
    beside = or_(*(Wait.partition == one if "," not in wait.partition else _names(one) for one in _partitions(wait)))
    if "," not in wait.partition:
        beside = or_(beside, Wait.partition.contains(",") & _names(wait.partition))
    older = or_(Wait.job_id < wait.job_id, and_(Wait.job_id == wait.job_id, Wait.task_id < wait.task_id))
    ahead = or_(Wait.priority > wait.priority, and_(Wait.priority == wait.priority, older))
    counts = select(_count(ahead), func.count(), _count(Wait.user == wait.user))
    row = session.execute(counts.where(Wait.cluster == wait.cluster, Wait.started_at.is_(None), Wait.ranked, beside))
    before, of, theirs = row.one()
    return Place(int(before or 0) + 1, of, int(theirs or 0))


def _partitions(wait: Wait) -> list[str]:
    return wait.partition.split(",")[:16]


def _names(partition: str) -> ColumnElement[bool]:
    return ("," + Wait.partition + ",").contains(f",{partition},", autoescape=True)


def _count(condition: ColumnElement[bool]) -> ColumnElement[int]:
    return func.sum(case((condition, 1), else_=0))


@dataclass(frozen=True)
class Estimates:
    """How good Slurm's estimates of starts were: of `jobs` starts, the median of how far they were off, in seconds.

    `first` is of the first word about a job, `last` of the last one. `late_s`: by how much jobs started after the first
    one, in the median; negative, before it.
    """

    jobs: int
    first_off_s: float
    last_off_s: float
    late_s: float


def estimates(session: Session, cluster: str, partition: str, now: datetime) -> Estimates | None:
    """How good they were in these partitions lately; None if no job has started that had one."""
    query = select(Wait.first_estimate_at, Wait.estimate_at, Wait.started_at).where(
        Wait.cluster == cluster, Wait.partition == partition, Wait.started_at >= now - KEPT,
        Wait.first_estimate_at.is_not(None),
    )  # fmt: skip
    rows: list[Any] = list(session.execute(query.order_by(Wait.started_at.desc()).limit(MOST_JUDGED)))
    if not rows:
        return None
    first = [(started - one).total_seconds() for one, _, started in rows]
    last = [(started - (one or early)).total_seconds() for early, one, started in rows]
    return Estimates(len(rows), median(map(abs, first)), median(map(abs, last)), median(first))
