"""Silence: runs outside Slurm of which nothing is heard any more, and those that speak again after it.

Nobody reports the death of a program that speaks to the API itself, nor that of a machine. Such a run is LOST when
nothing came of it for a while, and RUNNING again when something does. What an agent saw die is LOST for good.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import exists, select, update
from sqlalchemy.orm import Session, aliased

from tracker.states import LIVE_STATES, LOST
from tracker.store.among import among
from tracker.store.heard import CHANGED_AT
from tracker.store.tables import Run

SILENT = "it was silent for too long; it runs again as soon as it speaks"
"""The reason by which these are known."""
RUNS_AT_ONCE = 500
_UNSEEN = {"synchronize_session": False}


def is_silent(run: Run) -> bool:
    """Whether the run is LOST only because nothing is heard from it."""
    return run.state == LOST and run.reason == SILENT


def end_silent(session: Session, before: datetime, now: datetime) -> int:
    """Call runs outside Slurm LOST of which nothing came since `before`, some at a time; answer of how many.

    A run that a job's script began ends with the job, and one is not silent while those that it began speak. Those that
    somebody else has locked are left for the next time.
    """
    quiet = (Run.state == "RUNNING", Run.cluster.is_(None), Run.updated_at < before, before > CHANGED_AT)
    job, begun = aliased(Run), aliased(Run)
    of_a_job = exists().where(job.id == Run.parent_id, job.cluster.is_not(None))
    has_live = exists().where(begun.parent_id == Run.id, begun.state.in_(LIVE_STATES))
    chosen = select(Run.id).where(*quiet, ~of_a_job, ~has_live).order_by(Run.id).limit(RUNS_AT_ONCE)
    ids = session.scalars(chosen.with_for_update(of=Run, skip_locked=True)).all()
    if ids:
        lost = {"state": LOST, "state_source": "client", "reason": SILENT, "ended_at": CHANGED_AT}
        session.execute(update(Run).where(Run.id.in_(ids)).values(**lost, updated_at=now), execution_options=_UNSEEN)
    return len(ids)


def heard(run: Run) -> None:
    """Something came of a run, which the caller holds locked: if it was silent, it runs."""
    if is_silent(run):
        run.state, run.state_source, run.reason, run.ended_at = "RUNNING", "client", None, None


def all_heard(session: Session, run_ids: Collection[str]) -> None:
    """The same for runs with these ids."""
    query = select(Run).where(among(Run.__table__.c.id, "ids"), Run.state == LOST).order_by(Run.id)
    for run in session.scalars(query.with_for_update(of=Run), {"ids": run_ids}):
        heard(run)
