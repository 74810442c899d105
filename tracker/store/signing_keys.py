"""Keys with which this site signs, made when they are needed first: all servers of a database share them."""

from __future__ import annotations

import secrets

from sqlalchemy import insert, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from tracker.store.tables import SigningKey


def _find(session: Session, name: str) -> str | None:
    return session.scalar(select(SigningKey.secret).where(SigningKey.name == name))


def get(session: Session, name: str) -> str:
    """The key of this name, made if there is none."""
    known = _find(session, name)
    if known is not None:
        return known
    try:
        with session.begin_nested():
            session.execute(insert(SigningKey).values(name=name, secret=secrets.token_urlsafe(32)))
    except IntegrityError:  # another server was quicker
        pass
    return _find(session, name) or ""
