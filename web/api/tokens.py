"""Tokens of the API: made, listed and revoked by whom they belong to; administrators see and revoke those of all."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Annotated, Any, Literal

from flask import Blueprint, g, request, url_for
from flask.typing import ResponseReturnValue
from pydantic import BaseModel, Field

from tracker.errors import Forbidden, Unauthenticated
from tracker.store import accounts, refreshes, tables
from tracker.store import tokens as store
from tracker.store.identity import SCOPES
from web import audit
from web.api.described import described
from web.api.exchange import answer, made, read_body, read_query
from web.api.models import Asked, Name, NoQuery, Text, Time
from web.auth import passwords, proxy
from web.auth.attempts import require_patience
from web.context import db, primary, settings, viewer

tokens = Blueprint("tokens", __name__)

Scope = Literal[SCOPES]  # type: ignore[valid-type]
LINK_LIFETIME = timedelta(minutes=10)
_OF_PEOPLE = (store.API, store.ACCESS, store.SESSION, proxy.PURPOSE)


class NewToken(Asked):
    """A token for a program, with a name by which you know it again.

    `scopes`: what it is for, all that yours is for if not given. `days`: how long it is good for; null: for ever. One
    that is made with a token, not in a browser, goes with that and is not good for longer.
    """

    name: Name
    scopes: Annotated[list[Scope], Field(min_length=1, max_length=len(SCOPES))] | None = None
    days: Annotated[int, Field(ge=1, le=3650)] | None = 90


class Token(BaseModel):
    """A token, not its secret. `purpose`: of a program (`api`), an agent (`node`), a browser's session, or a login of
    a program (`refresh`). `last_used_at` is right to ten minutes.
    """

    id: str
    name: str | None
    user: str
    role: str
    purpose: str
    scopes: list[str]
    created_at: Time
    expires_at: Time | None
    last_used_at: Time | None

    @classmethod
    def of(cls, stored: tables.Token, **more: Any) -> Token:
        """The token as the store has it."""
        names = ("name", "user", "role", "purpose", "created_at", "expires_at", "last_used_at")
        facts: dict[str, Any] = {name: getattr(stored, name) for name in names}
        scopes = list(SCOPES) if stored.scopes is None else stored.scopes.split()
        return cls(id=stored.hash[:16], scopes=scopes, **facts, **more)


class MadeToken(Token):
    """A new token with its secret, which is told this once."""

    token: str


class TokenList(BaseModel):
    """Tokens that are good for something, newest first; 500 at most."""

    items: list[Token]


class TokensQuery(Asked):
    """Whose: your own, or for administrators those of `user`, of all with `all=true`."""

    user: Text | None = None
    all: bool = False


class Login(Asked):
    """A name and a password, as on the page; `scopes` narrow what the tokens are for."""

    user: Annotated[str, Field(max_length=100, pattern=r"^[^\x00]+$")]
    password: Annotated[str, Field(max_length=1000, pattern=r"^[^\x00]+$")]
    scopes: Annotated[list[Scope], Field(min_length=1, max_length=len(SCOPES))] | None = None


class Refresh(Asked):
    """A refresh token, which is spent by this."""

    refresh_token: Annotated[str, Field(max_length=200, pattern=r"^[\x21-\x7e]+$")]


class Pair(BaseModel):
    """An access token for `Authorization: Bearer`, good for `expires_in` seconds, and what gets the next pair, once."""

    access_token: str
    token_type: str = "Bearer"
    expires_in: int = int(refreshes.ACCESS_LIFETIME.total_seconds())
    refresh_token: str
    refresh_expires_in: int = int(refreshes.REFRESH_LIFETIME.total_seconds())


class Link(BaseModel):
    """A link that logs in a browser, once, within ten minutes."""

    url: str


@tokens.get("/tokens")
@described(TokenList, query=TokensQuery, errors=(Forbidden,))
def find() -> ResponseReturnValue:
    """Tokens and sessions."""
    asked = read_query(TokensQuery)
    _require_person()
    if (asked.all or asked.user not in (None, viewer().user)) and not viewer().sees_all:
        raise Forbidden("Only administrators see tokens of others.")
    whose = None if asked.all else asked.user or viewer().user
    with db().read() as session:
        found = store.of_user(session, whose)
    return answer(TokenList(items=[Token.of(one) for one in found]))


@tokens.post("/tokens")
@described(MadeToken, body=NewToken, status=201, errors=(Forbidden,))
def make() -> ResponseReturnValue:
    """Make a token."""
    read_query(NoQuery)
    asked = read_body(NewToken)
    _require_person()
    lifetime = None if asked.days is None else timedelta(days=asked.days)
    with db().write() as session:
        secret = store.derive(session, g.shown, store.API, lifetime, scopes=asked.scopes, name=asked.name)
        session.flush()
        token = store.get(session, store.id_of(secret))
        audit.note(session, "token.create", store.id_of(secret), f"{asked.name}: {token.scopes or 'all scopes'}")
        told = MadeToken.of(token, token=secret)
    return made(told, url_for("api.tokens.get", ident=told.id))


@tokens.get("/tokens/<run:ident>")
@described(Token, errors=(Forbidden,))
def get(ident: str) -> ResponseReturnValue:
    """One token."""
    read_query(NoQuery)
    _require_person()
    with db().read() as session:
        found = store.get(session, ident, None if viewer().sees_all else viewer().user)
    return answer(Token.of(found))


@tokens.delete("/tokens/<run:ident>")
@described(status=204, errors=(Forbidden,))
def revoke(ident: str) -> ResponseReturnValue:
    """Revoke a token, and what came from it; of a program's login all of its tokens."""
    read_query(NoQuery)
    _require_person()
    with db().write() as session:
        token = store.get(session, ident, None if viewer().sees_all else viewer().user)
        store.take_back(session, token)
        audit.note(session, "token.revoke", ident, f"{token.purpose} of {token.user}")
    return "", 204


@tokens.post("/tokens:login")
@described(Pair, body=Login, errors=(Unauthenticated,))
def log_in() -> ResponseReturnValue:
    """Log a program in with a name and a password: for half an hour, and for a week if it refreshes."""
    read_query(NoQuery)
    asked = read_body(Login)
    found = passwords.who(asked.user, asked.password)
    if found is None:
        raise Unauthenticated("There is no such user with this password.")
    identity, way = found
    if asked.scopes is not None:
        identity = replace(identity, scopes=frozenset(asked.scopes))
    with primary().write() as session:
        pair = refreshes.begin(session, identity)
        audit.note(session, "login", identity.user, f"{way}, a program", actor=identity.user)
    return answer(Pair(access_token=pair.access, refresh_token=pair.refresh))


@tokens.post("/tokens:refresh")
@described(Pair, body=Refresh, errors=(Unauthenticated,))
def renew() -> ResponseReturnValue:
    """Get the next pair for a refresh token; one that is used a second time ends all that came from its login."""
    read_query(NoQuery)
    asked = read_body(Refresh)
    require_patience()
    with primary().write() as session:
        done = refreshes.renew(
            session, asked.refresh_token, lambda user: accounts.who(session, user, settings().admins.split())
        )
        if done.reused:
            audit.note(
                session, "token.reused", store.id_of(asked.refresh_token), "its family is revoked", actor=done.user
            )
    if done.pair is None:
        raise Unauthenticated("This refresh token is good for nothing: log in again.")
    return answer(Pair(access_token=done.pair.access, refresh_token=done.pair.refresh))


@tokens.post("/tokens:login-link")
@described(Link, errors=(Forbidden,))
def make_link() -> ResponseReturnValue:
    """Get a link that logs you in with a browser: it may do what this token may, and its session goes with it."""
    read_query(NoQuery)
    _require_person()
    with db().write() as session:
        secret = store.derive(session, g.shown, store.LOGIN, LINK_LIFETIME)
        audit.note(session, "link.create")
    here = settings().url.rstrip("/") or request.host_url.rstrip("/") + request.script_root
    return answer(Link(url=f"{here}/login?token={secret}"))


def _require_person() -> None:
    """What stands for a job or a node hands nothing on: it would outlive that."""
    if not viewer().sees_own or g.shown.purpose not in _OF_PEOPLE:
        raise Forbidden("This token is a job's or an agent's; people have tokens.")
