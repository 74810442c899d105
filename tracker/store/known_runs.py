"""Known runs: what storing points needs of runs, by few statements for any number of them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import and_, bindparam, case, func, insert, or_, select, text, update
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import Session

from tracker.store.among import among
from tracker.store.heard import STAMPED_EVERY
from tracker.store.runs import CLOCK_SLACK
from tracker.store.tables import Run


class KnownRun(NamedTuple):
    """What storing points needs to know of a run."""

    id: str
    cluster: str | None
    job_id: int | None
    parent_id: str | None
    experiment_id: str
    user: str | None
    restarts: int
    submitted_at: datetime | None
    created_at: datetime
    results_due: bool
    state: str


_RUNS = Run.__table__.c
_WITH_IDS = among(_RUNS.id, "ids")
# Nearly always it is one cluster, and two lists are quicker than one of pairs.
_OF_JOBS = and_(among(_RUNS.cluster, "clusters"), among(_RUNS.job_id, "jobs"))
_WANTED = or_(_OF_JOBS, _WITH_IDS)
_COLUMNS = tuple(_RUNS[name] for name in KnownRun._fields)
_KNOWN = select(*_COLUMNS).where(_WANTED).order_by(_RUNS.created_at.desc())
_NAMES = select(_RUNS.id, _RUNS.cluster, _RUNS.job_id).where(_WANTED)
_LOCK = select(_RUNS.id).where(_WITH_IDS).order_by(_RUNS.id).with_for_update()
_LOCK_ALL = text(
    f"""
SAVEPOINT before_locks;
SELECT {", ".join(f'runs."{column.name}"' for column in _COLUMNS)} FROM runs
WHERE (runs.cluster = ANY(:clusters) AND runs.job_id = ANY(:jobs) OR runs.id = ANY(:ids))
  AND NOT EXISTS (
    SELECT FROM unnest(CAST(:clusters AS text[]), CAST(:jobs AS int8[])) AS one(cluster, job_id)
    WHERE NOT EXISTS (SELECT FROM runs AS any_run WHERE any_run.cluster = one.cluster AND any_run.job_id = one.job_id))
  AND NOT EXISTS (
    SELECT FROM unnest(CAST(:ids AS text[])) AS one(id)
    WHERE NOT EXISTS (SELECT FROM runs AS any_run WHERE any_run.id = one.id))
ORDER BY runs.id FOR UPDATE OF runs
"""
).columns(*_COLUMNS)
"""Locks all of the runs, or none where one is missing: who then waits for the right to make it may hold no lock.

One that somebody joins to another while we wait for it is left out of the answer, and so is the other.
"""


def reserve(session: Session, jobs: Collection[tuple[str, int]], ids: Collection[str] = ()) -> list[KnownRun]:
    """Lock the runs of these jobs (cluster, job id) and with these ids, or where there is none the right to make it.

    The answer is those that there are, and perhaps others, the newest first. Called first in a transaction and in one
    order, so that agents of many nodes cannot wait for each other in a circle. SQLite has one writer at a time and
    needs no lock.
    """
    if not (jobs or ids):
        return []
    if session.get_bind().dialect.name != "postgresql":
        return known(session, jobs, ids)
    found = [KnownRun(*row) for row in session.execute(_LOCK_ALL, _named(jobs, ids))]
    if not _are_all(found, jobs, ids):
        session.execute(text("ROLLBACK TO SAVEPOINT before_locks"))
        _reserve_new(session, {*jobs}, {*ids})
        return known(session, jobs, ids)
    return sorted(found, key=lambda run: run.created_at, reverse=True)


def _are_all(found: Sequence[KnownRun], jobs: Collection[tuple[str, int]], ids: Collection[str]) -> bool:
    there = {(run.cluster, run.job_id) for run in found}
    return there.issuperset(jobs) and {run.id for run in found}.issuperset(ids)


def _reserve_new(session: Session, jobs: set[tuple[str, int]], ids: set[str]) -> None:
    wanted = _named(jobs, ids)
    there = session.execute(_NAMES, wanted).all()
    lacking = {cluster for cluster, _ in jobs - {(cluster, job_id) for _, cluster, job_id in there}}
    lacking |= {""} if ids - {run_id for run_id, _, _ in there} else set()  # runs outside Slurm are of no cluster
    for cluster in sorted(lacking):
        session.execute(select(func.pg_advisory_xact_lock(func.hashtext(f"tracker runs of {cluster}"))))
    if lacking:
        there = session.execute(_NAMES, wanted).all()
    mine = [run_id for run_id, cluster, job_id in there if run_id in ids or (cluster, job_id) in jobs]
    session.execute(_LOCK, {"ids": mine}).all()


def _named(jobs: Collection[tuple[str, int]], ids: Collection[str]) -> dict[str, list[Any]]:
    return {"clusters": [one for one, _ in jobs], "jobs": [one for _, one in jobs], "ids": list(ids)}


def known(session: Session, jobs: Collection[tuple[str, int]], ids: Collection[str]) -> list[KnownRun]:
    """The runs of these jobs (cluster, job id) and with these ids, and perhaps others, the newest first.

    The caller has reserved them.
    """
    session.flush()  # what was changed by way of objects
    return [KnownRun(*row) for row in session.execute(_KNOWN, _named(jobs, ids))]


class Index:
    """Known runs by their jobs and ids."""

    def __init__(self, found: Iterable[KnownRun]) -> None:
        """They come the newest first."""
        self.of_ids: dict[str, KnownRun] = {}
        self._of_jobs: dict[tuple[str | None, int | None], list[KnownRun]] = {}
        for run in found:
            self.add(run)

    def add(self, run: KnownRun) -> None:
        """One more. Of a job's runs those that were added before go before it."""
        self.of_ids[run.id] = run
        self._of_jobs.setdefault((run.cluster, run.job_id), []).append(run)

    def is_only(self, run: KnownRun) -> bool:
        """Whether no other one has, or had, its job id."""
        return run.cluster is None or len(self._of_jobs[run.cluster, run.job_id]) == 1

    def of_job(self, cluster: str, job_id: int, at: datetime) -> KnownRun | None:
        """The one that held this job id at that moment, as `runs.of_job` finds it."""
        for run in self._of_jobs.get((cluster, job_id), ()):
            if run.submitted_at is None or run.submitted_at <= at + CLOCK_SLACK:
                return run
        return None


def register(session: Session, fresh: Sequence[KnownRun]) -> None:
    """Make runs of which only their points are known: they run, and their client says so."""
    rows = [{**one._asdict(), "updated_at": one.created_at, "state_source": "client"} for one in fresh]
    if rows:
        session.execute(insert(Run), rows)


TOUCH = (
    update(Run.__table__)  # type: ignore[arg-type]  # a mapped class has a table
    .where(_WITH_IDS)
    .values(
        heard_at=bindparam("now"),
        updated_at=case((_RUNS.updated_at < bindparam("stamped"), bindparam("now")), else_=_RUNS.updated_at),
    )
)
"""Says of runs that lines of theirs came; `touched` are its parameters."""
TOUCH_SQL = str(TOUCH.compile(dialect=postgresql.psycopg2.dialect()))  # type: ignore[no-untyped-call]
"""The same for PostgreSQL's driver."""


def touched(ids: Collection[str], now: datetime) -> dict[str, Any]:
    """The parameters of TOUCH, as drivers take them."""
    stamped = now - STAMPED_EVERY
    return {"ids": list(ids), "now": _us(now), "stamped": _us(stamped)}


def submitted_us(run: KnownRun) -> int | None:
    """When its job was submitted, in microseconds since 1970, as PostgreSQL keeps it."""
    return None if run.submitted_at is None else _us(run.submitted_at)


def _us(at: datetime) -> int:
    return round(at.timestamp() * 1_000_000)


def touch(session: Session, ids: Collection[str], now: datetime) -> None:
    """Say of runs that lines of theirs came."""
    if ids:
        session.execute(TOUCH, {"ids": list(ids), "now": now, "stamped": now - STAMPED_EVERY})
