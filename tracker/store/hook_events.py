"""Events of hooks that were applied."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from tracker.store.tables import HookEvent


def remember(session: Session, run_id: str, *, cluster: str, node: str, name: str, happened_at: datetime) -> bool:
    """Remember an event; False if it was known already. The run must be locked, so that two senders cannot race."""
    which = {"cluster": cluster, "node": node, "name": name, "happened_at": happened_at}
    if session.scalar(select(HookEvent.run_id).filter_by(**which).limit(1)) is not None:
        return False
    session.add(HookEvent(run_id=run_id, **which))
    session.flush()
    return True
