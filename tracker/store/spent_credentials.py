"""Credentials that were used to log in, so that none is good for a second time, on whichever server."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import delete, insert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from tracker.store.tables import SpentCredential


def spend(session: Session, ident: str, now: datetime, until: datetime) -> bool:
    """Remember a credential until nobody takes it any more; False when it was spent before."""
    session.execute(delete(SpentCredential).where(SpentCredential.until <= now))
    try:
        with session.begin_nested():
            session.execute(insert(SpentCredential).values(id=ident, until=until))
    except IntegrityError:
        return False
    return True
