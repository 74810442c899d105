"""Pairs of tokens for programs: one that opens the API for half an hour, and one that gets the next pair, once.

All that come from one login are a family. A refresh token that is shown a second time was stolen, or its thief was
first: nobody can tell, so the whole family goes (RFC 9700, 4.14.2).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone

from sqlalchemy import select
from sqlalchemy.orm import Session

from tracker.store import tokens
from tracker.store.identity import ALL_SCOPES, Identity
from tracker.store.tables import Token

ACCESS_LIFETIME = timedelta(minutes=30)
REFRESH_LIFETIME = timedelta(days=7)


@dataclass(frozen=True)
class Pair:
    """The secrets of both."""

    access: str
    refresh: str


@dataclass(frozen=True)
class Renewal:
    """What became of a refresh token. Without a `pair` it was worth nothing; `reused`: it had been spent before."""

    user: str | None = None
    pair: Pair | None = None
    reused: bool = False


def begin(session: Session, who: Identity) -> Pair:
    """The first pair of a family."""
    refresh = _made(session, who, tokens.REFRESH, REFRESH_LIFETIME, None)
    family = tokens.id_of(refresh)
    session.flush()
    tokens.get(session, family).family = family
    return Pair(_made(session, who, tokens.ACCESS, ACCESS_LIFETIME, family), refresh)


def renew(session: Session, secret: str, who: Callable[[str], Identity | None]) -> Renewal:
    """Spend a refresh token for the next pair; `who` tells what its user may do now, None if nothing."""
    query = select(Token).where(tokens.has_secret(secret), Token.purpose == tokens.REFRESH).with_for_update()
    token = session.scalar(query)
    if token is None or token.family is None:
        return Renewal()
    if token.spent_at is not None:
        tokens.revoke_family(session, token.family)
        return Renewal(token.user, reused=True)
    now = datetime.now(timezone.utc)
    identity = who(token.user)
    if identity is None or (token.expires_at and token.expires_at <= now):
        return Renewal(token.user)
    if token.scopes is not None:
        identity = replace(identity, scopes=frozenset(token.scopes.split()))
    token.spent_at = token.last_used_at = now
    access = _made(session, identity, tokens.ACCESS, ACCESS_LIFETIME, token.family)
    return Renewal(token.user, Pair(access, _made(session, identity, tokens.REFRESH, REFRESH_LIFETIME, token.family)))


def _made(session: Session, who: Identity, purpose: str, lifetime: timedelta, family: str | None) -> str:
    scopes = None if who.scopes == ALL_SCOPES else who.scopes
    return tokens.create(session, who.user, who.role, purpose, lifetime, scopes=scopes, family=family)
