"""Suspensions: when a run had its allocation and did not run."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from tracker.store.tables import Attempt, Suspension

SAME = timedelta(seconds=2)
MOST_SUSPENSIONS = 500
"""Of one run that are kept."""


def of(session: Session, run_id: str) -> list[Suspension]:
    """The suspensions of a run, the first one first."""
    query = select(Suspension).where(Suspension.run_id == run_id).order_by(Suspension.started_at)
    return list(session.scalars(query))


def length(session: Session, run_id: str) -> timedelta:
    """How long the newest attempt of a run was suspended, times that are over."""
    latest = select(func.max(Attempt.started_at)).where(Attempt.run_id == run_id).scalar_subquery()
    over = select(Suspension).where(
        Suspension.run_id == run_id, Suspension.ended_at.is_not(None), Suspension.started_at >= latest
    )
    paused = ((one.ended_at or one.started_at) - one.started_at for one in session.scalars(over))
    return sum(paused, timedelta(0))


def begin(session: Session, run_id: str, known: Sequence[Suspension], at: datetime, source: str) -> None:
    """Say that it was suspended then; one that is known is not told again."""
    if len(known) >= MOST_SUSPENSIONS or any(abs(one.started_at - at) <= SAME or not one.ended_at for one in known):
        return
    session.add(Suspension(run_id=run_id, started_at=at, source=source))
    session.flush()


def end(known: Sequence[Suspension], at: datetime) -> None:
    """Say that it went on, or ended, then."""
    for one in known:
        if one.ended_at is None:
            one.ended_at = max(at, one.started_at)
