"""Suspensions: when a run had its allocation and did not run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from tracker.store.among import among
from tracker.store.tables import Suspension

SAME = timedelta(seconds=2)
MOST_SUSPENSIONS = 500
"""Of one run that are kept."""
_PAUSES = Suspension.__table__.c
_OVER = select(_PAUSES.run_id, _PAUSES.started_at, _PAUSES.ended_at).where(
    among(_PAUSES.run_id, "runs"), _PAUSES.ended_at.is_not(None)
)  # fmt: skip


def of(session: Session, run_id: str) -> list[Suspension]:
    """The suspensions of a run, the first one first."""
    query = select(Suspension).where(Suspension.run_id == run_id).order_by(Suspension.started_at)
    return list(session.scalars(query))


def lengths(session: Session, since: Mapping[str, datetime]) -> dict[str, timedelta]:
    """How long runs were suspended, by run: times that are over, of those that began since that moment of each."""
    found: dict[str, timedelta] = {}
    rows = session.execute(_OVER, {"runs": list(since)}) if since else ()
    for run_id, began, ended in rows:
        if began >= since[run_id]:
            found[run_id] = found.get(run_id, timedelta(0)) + (ended - began)
    return found


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
