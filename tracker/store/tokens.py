"""Tokens: keys to the API and the pages. Only a hash of each is kept; 256 random bits need no slow one."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

from sqlalchemy import ColumnElement, Connection, and_, bindparam, delete, or_, select, update
from sqlalchemy.orm import Session

from tracker.errors import Forbidden, NotFound
from tracker.store.identity import ALL_SCOPES, SCOPES, Identity
from tracker.store.planned import ONCE
from tracker.store.tables import Token

API, NODE, LOGIN, SESSION, ACCESS, REFRESH = "api", "node", "login", "session", "access", "refresh"
"""What a token is for: programs, agents, one login by link, a browser's session, programs for half an hour, and for
getting another one of these (store/refreshes.py)."""
BEARERS = (API, NODE, ACCESS)
"""What opens the API."""
IDLE_SESSION = timedelta(days=7)
"""A session that was not used for so long is over."""
USE_NOTED_EVERY = timedelta(minutes=10)
"""The moment of a token's last use is kept as roughly as this."""
_UNSEEN = {"synchronize_session": False}
_ID = re.compile(r"[0-9a-f]{16}\Z")


@dataclass(frozen=True)
class Shown:
    """A token that somebody showed, and who that is."""

    identity: Identity
    id: str = ""
    purpose: str = ""
    expires_at: datetime | None = None
    use_is_due: bool = False


def create(
    session: Session, user: str, role: str, purpose: str, lifetime: timedelta | None = None, *,
    scopes: Iterable[str] | None = None, name: str | None = None, family: str | None = None, node: str | None = None,
) -> str:  # fmt: skip
    """Make a token and hand out its secret, the only time it is seen. Without `scopes` it is for all of them.

    `node` (`cluster:node`) is the one that an agent's key is for, all if not given.
    """
    secret = f"trk_{secrets.token_urlsafe(32)}"
    now = datetime.now(timezone.utc)
    session.add(
        Token(
            hash=_hash(secret),
            user=user,
            role=role,
            purpose=purpose,
            created_at=now,
            family=family,
            name=name,
            expires_at=None if lifetime is None else now + lifetime,
            scopes=_kept(scopes),
            last_used_at=now if purpose == SESSION else None,
            node=node,
        )
    )
    return secret


def derive(
    session: Session, shown: Shown, purpose: str, lifetime: timedelta | None, *,
    scopes: Iterable[str] | None = None, name: str | None = None,
) -> str:  # fmt: skip
    """Make a token for who showed one, that can do no more than this. Raises Forbidden for wider scopes.

    What comes from an API token goes when that is revoked, and is not good for longer.
    """
    wanted = shown.identity.scopes if scopes is None else frozenset(scopes)
    if not wanted <= shown.identity.scopes:
        raise Forbidden(f"This token has no scope {', '.join(sorted(wanted - shown.identity.scopes))} to hand on.")
    from_api = shown.purpose == API
    if from_api and shown.expires_at is not None:
        left = shown.expires_at - datetime.now(timezone.utc)
        lifetime = left if lifetime is None else min(left, lifetime)
    who = shown.identity
    return create(
        session, who.user, who.role, purpose, lifetime,
        scopes=None if wanted == ALL_SCOPES else wanted, name=name, family=shown.id if from_api else None,
    )  # fmt: skip


_TOKENS = Token.__table__.c
_SHOWN = (
    _TOKENS.user, _TOKENS.role, _TOKENS.scopes, _TOKENS.hash, _TOKENS.purpose, _TOKENS.expires_at, _TOKENS.last_used_at,
    _TOKENS.node,
)  # fmt: skip
_WHOSE = (
    select(*_SHOWN)
    .where(
        _TOKENS.hash == bindparam("hash"),
        _TOKENS.purpose.in_(bindparam("purposes", expanding=True)),
        or_(_TOKENS.expires_at.is_(None), _TOKENS.expires_at > bindparam("now")),
    )
    .execution_options(**ONCE)
)  # each request asks it


def recognise(session: Session | Connection, secret: str, purposes: tuple[str, ...]) -> Shown | None:
    """Whose token this is; None when it is unknown, expired, idle for too long, or for another purpose."""
    now = datetime.now(timezone.utc)
    row = session.execute(_WHOSE, {"hash": _hash(secret), "purposes": list(purposes), "now": now}).first()
    if row is None or (row.purpose == SESSION and row.last_used_at and now - row.last_used_at > IDLE_SESSION):
        return None
    use_is_due = row.last_used_at is None or now - row.last_used_at > USE_NOTED_EVERY
    identity = _identity(row.user, row.role, row.scopes, row.node)
    return Shown(identity, row.hash[:16], row.purpose, row.expires_at, use_is_due)


def identify(session: Session | Connection, secret: str, purposes: tuple[str, ...] = BEARERS) -> Identity | None:
    """Who holds this secret; None when it is good for nothing."""
    shown = recognise(session, secret, purposes)
    return None if shown is None else shown.identity


def note_use(session: Session, ident: str) -> None:
    """Keep that a token is used now."""
    session.execute(
        update(Token).where(_is(ident)).values(last_used_at=datetime.now(timezone.utc)), execution_options=_UNSEEN
    )


def redeem(session: Session, secret: str) -> Shown | None:
    """Who holds this login secret, which is used up by that. One that came from a token is worth nothing without it."""
    now = datetime.now(timezone.utc)
    query = select(Token).where(has_secret(secret), Token.purpose == LOGIN).with_for_update()
    token = session.scalar(query)
    if token is None or (token.expires_at and token.expires_at <= now):
        return None
    session.delete(token)
    identity = _identity(token.user, token.role, token.scopes)
    if token.family is None:
        return Shown(identity, purpose=LOGIN)
    origin = session.scalar(select(Token).where(_is(token.family)))
    if origin is None or (origin.expires_at and origin.expires_at <= now):
        return None
    return Shown(identity, token.family, API, origin.expires_at)


def of_user(session: Session, user: str | None, *, limit: int = 500) -> list[Token]:
    """A user's tokens that are good for something, or everybody's, newest first; not those that end within the hour."""
    now = datetime.now(timezone.utc)
    shown = (API, NODE, SESSION, REFRESH)
    query = select(Token).where(Token.purpose.in_(shown), Token.spent_at.is_(None), _not_over(now))
    if user is not None:
        query = query.where(Token.user == user)
    return list(session.scalars(query.order_by(Token.created_at.desc(), Token.hash).limit(limit)))


def get(session: Session, ident: str, user: str | None = None) -> Token:
    """One token by its id, of this user if one is given. Raises NotFound."""
    token = session.scalar(select(Token).where(_is(ident))) if _ID.match(ident) else None
    if token is None or (user is not None and token.user != user):
        raise NotFound(f"There is no token `{ident[:40]}` that you may see.")
    return token


def revoke(session: Session, secret: str) -> None:
    """Make a secret worthless, and what came from it."""
    revoke_id(session, id_of(secret))


def revoke_id(session: Session, ident: str) -> None:
    """Make a token worthless, and what came from it."""
    session.execute(delete(Token).where(or_(_is(ident), Token.family == ident)), execution_options=_UNSEEN)


def take_back(session: Session, token: Token) -> None:
    """Make a token worthless, and what came from it; of a program's login all of its tokens."""
    revoke_id(session, token.hash[:16])
    if token.purpose == REFRESH and token.family:
        revoke_family(session, token.family)


def revoke_family(session: Session, family: str) -> None:
    """Make all tokens of a family worthless."""
    session.execute(delete(Token).where(Token.family == family), execution_options=_UNSEEN)


def revoke_user(session: Session, user: str) -> None:
    """Make all tokens of a user worthless."""
    session.execute(delete(Token).where(Token.user == user), execution_options=_UNSEEN)


def revoke_logins(session: Session, user: str) -> None:
    """End a person's sessions, and those of their programs that logged in with a password."""
    logins = Token.purpose.in_((SESSION, ACCESS, REFRESH, LOGIN))
    session.execute(delete(Token).where(Token.user == user, logins), execution_options=_UNSEEN)


def set_role(session: Session, user: str, role: str) -> None:
    """Let the tokens of a person have another role."""
    people = update(Token).where(Token.user == user, Token.purpose != NODE)
    session.execute(people.values(role=role), execution_options=_UNSEEN)


def forget_expired(session: Session, now: datetime) -> None:
    """Remove what is good for nothing any more."""
    idle = (Token.purpose == SESSION) & (Token.last_used_at < now - IDLE_SESSION)
    session.execute(delete(Token).where(or_(Token.expires_at <= now, idle)), execution_options=_UNSEEN)


def has_secret(secret: str) -> ColumnElement[bool]:
    """The condition that a token is the one with this secret."""
    return Token.hash == _hash(secret)


def id_of(secret: str) -> str:
    """The id of the token with this secret."""
    return _hash(secret)[:16]


def _identity(user: str, role: str, scopes: str | None, node: str | None = None) -> Identity:
    return Identity(user, role, ALL_SCOPES if scopes is None else frozenset(scopes.split()), node)


def _kept(scopes: Iterable[str] | None) -> str | None:
    return None if scopes is None else " ".join(scope for scope in SCOPES if scope in set(scopes))


def _is(ident: str) -> ColumnElement[bool]:
    return and_(Token.hash >= ident, Token.hash < f"{ident}g")  # along the key: the letters of a hash end with f


def _not_over(now: datetime) -> ColumnElement[bool]:
    return or_(Token.expires_at.is_(None), Token.expires_at > now)


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()
