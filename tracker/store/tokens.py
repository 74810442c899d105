"""Tokens: keys to the API and the pages. Only a hash of each is kept; 256 random bits need no slow one."""

from __future__ import annotations

import hashlib
import secrets
from datetime import datetime, timedelta, timezone

from sqlalchemy import Connection, Select, bindparam, delete, or_, select
from sqlalchemy.orm import Session

from tracker.store.identity import Identity
from tracker.store.planned import ONCE
from tracker.store.tables import Token

API, NODE, LOGIN, SESSION = "api", "node", "login", "session"
"""What a token is for: programs, agents, one login by link, a browser's session."""


def create(session: Session, user: str, role: str, purpose: str, lifetime: timedelta | None = None) -> str:
    """Make a token and hand out its secret, the only time it is seen."""
    secret = f"trk_{secrets.token_urlsafe(32)}"
    now = datetime.now(timezone.utc)
    expires_at = None if lifetime is None else now + lifetime
    session.add(Token(hash=_hash(secret), user=user, role=role, purpose=purpose, created_at=now, expires_at=expires_at))
    return secret


_TOKENS = Token.__table__.c
_WHOSE = (
    select(_TOKENS.user, _TOKENS.role)
    .where(
        _TOKENS.hash == bindparam("hash"),
        _TOKENS.purpose.in_(bindparam("purposes", expanding=True)),
        or_(_TOKENS.expires_at.is_(None), _TOKENS.expires_at > bindparam("now")),
    )
    .execution_options(**ONCE)
)  # each request asks it


def identify(session: Session | Connection, secret: str, purposes: tuple[str, ...] = (API, NODE)) -> Identity | None:
    """Who holds this secret; None when it is unknown, expired, or for another purpose."""
    now = datetime.now(timezone.utc)
    asked = {"hash": _hash(secret), "purposes": list(purposes), "now": now}
    row = session.execute(_WHOSE, asked).first()
    return None if row is None else Identity(*row)


def redeem(session: Session, secret: str) -> Identity | None:
    """Who holds this login secret, which is used up by that."""
    token = session.scalar(_valid(secret, (LOGIN,)).with_for_update())
    if token is None:
        return None
    session.delete(token)
    return Identity(token.user, token.role)


def revoke(session: Session, secret: str) -> None:
    """Make a secret worthless."""
    session.execute(delete(Token).where(Token.hash == _hash(secret)))


def _valid(secret: str, purposes: tuple[str, ...]) -> Select[Token]:
    now = datetime.now(timezone.utc)
    unexpired = or_(Token.expires_at.is_(None), Token.expires_at > now)
    return select(Token).where(Token.hash == _hash(secret), Token.purpose.in_(purposes), unexpired)


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()
