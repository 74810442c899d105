"""Accounts: what this server itself knows of people. Those who log in by other ways need none."""

from __future__ import annotations

import re
from collections.abc import Container
from datetime import datetime

from sqlalchemy import Connection, bindparam, select
from sqlalchemy.orm import Session

from tracker.errors import BadInput, Conflict, NotFound
from tracker.store import tokens
from tracker.store.identity import Identity
from tracker.store.tables import Account

ROLES = ("user", "admin")
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@-]{0,63}\Z")


def is_user_name(text: str) -> bool:
    """Whether somebody can be called that: as on Unix, and with the capitals, dots and @ of directories."""
    return bool(_USER.match(text))


def add(session: Session, user: str, role: str, password_hash: str | None, now: datetime) -> None:
    """Make an account. Raises BadInput for a name that is none, Conflict when there is one."""
    if not is_user_name(user):
        raise BadInput("A user's name is up to 64 letters, digits and . _ - @.")
    if session.get(Account, user) is not None:
        raise Conflict(f"There is an account `{user}` already.")
    session.add(Account(user=user, role=role, password_hash=password_hash, created_at=now))
    session.flush()


def all_of_them(session: Session) -> list[Account]:
    """All accounts, by name."""
    return list(session.scalars(select(Account).order_by(Account.user)))


def get(session: Session, user: str) -> Account:
    """One account. Raises NotFound."""
    account = session.get(Account, user)
    if account is None:
        raise NotFound(f"There is no account `{user[:64]}`: `tracker user add` makes one.")
    return account


def any_with_password(session: Session) -> bool:
    """Whether somebody could log in with a password of ours."""
    query = select(Account.user).where(Account.password_hash.is_not(None), Account.disabled_at.is_(None)).limit(1)
    return session.scalar(query) is not None


def password_hash(session: Session, user: str) -> str | None:
    """What is kept of a user's password; None when there is no such user, or one without a password."""
    return session.scalar(select(Account.password_hash).where(Account.user == user))


def set_password(session: Session, user: str, password_hash: str) -> None:
    """Give a user another password. Who is logged in with the old one is so no more. Raises NotFound."""
    get(session, user).password_hash = password_hash
    tokens.revoke_logins(session, user)


def set_role(session: Session, user: str, role: str) -> None:
    """Give a user and all of their tokens another role. Raises NotFound."""
    get(session, user).role = role
    tokens.set_role(session, user, role)


def disable(session: Session, user: str, now: datetime) -> None:
    """Let nobody in as this user any more, however they log in; their tokens go. It needs no account before."""
    account = session.get(Account, user)
    if account is None:
        add(session, user, "user", None, now)
        account = get(session, user)
    account.disabled_at = now
    tokens.revoke_user(session, user)


def enable(session: Session, user: str) -> None:
    """Let a user in again. Raises NotFound."""
    get(session, user).disabled_at = None


_STANDING = select(Account.role, Account.disabled_at).where(Account.user == bindparam("user"))


def who(session: Session | Connection, user: str, admins: Container[str]) -> Identity | None:
    """Who a user is who proved to be this one; None if they may not come in. `admins` are so without an account."""
    account = session.execute(_STANDING, {"user": user}).first()
    if account is None:
        return Identity(user, "admin" if user in admins else "user")
    return None if account.disabled_at else Identity(user, "admin" if user in admins else account.role)
