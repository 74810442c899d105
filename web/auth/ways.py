"""The ways to log in that are open here, and whose a name and a password are."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import cast

from flask import Flask, current_app

from tracker.actions.check_password import fits
from tracker.errors import BadInput, SetupProblem
from tracker.settings import Settings
from tracker.store import accounts
from tracker.store.database import Database

WAYS = ("link", "local", "ldap", "pam", "oidc", "proxy", "munge")
"""Links of `tracker login`; passwords of ours, of a directory, of PAM; an OpenID provider; who a proxy says it is;
whose process it is, as munged says to programs."""
Check = Callable[[str, str], "str | None"]
"""The name of the user whose name and password these are, None if they are nobody's. Raises Unavailable."""
_ELSEWHERE = {"ldap": "web.auth.ldap", "pam": "web.auth.pam", "oidc": "web.auth.oidc"}
"""Modules that need a library of their own."""
_WITH_PASSWORD = ("ldap", "pam")
"""Of these the ones with `check_of(settings) -> Check`."""


class Ways:
    """What is open. Raises BadInput for a way that there is not, SetupProblem when its library is missing."""

    def __init__(self, settings: Settings) -> None:
        self.open = frozenset(settings.logins.replace(",", " ").split())
        unknown = sorted(self.open - set(WAYS))
        if unknown:
            raise BadInput(f"`logins` are some of {', '.join(WAYS)}; there is no `{unknown[0]}`.")
        self.oidc_name = settings.oidc_name
        self._elsewhere = {way: _check_of(way, settings) for way in _WITH_PASSWORD if way in self.open}

    def takes_passwords(self, db: Database) -> bool:
        """Whether somebody could log in with a password."""
        if self._elsewhere or "local" not in self.open:
            return bool(self._elsewhere)
        with db.read() as session:
            return accounts.any_with_password(session)

    def user_of(self, db: Database, user: str, password: str) -> tuple[str, str] | None:
        """Whose name and password these are, and by which way; None if they are nobody's. Raises Unavailable.

        Who has a password of ours has no other: where that is taken away, a directory's does not open the door again.
        """
        if not accounts.is_user_name(user) or not password or "\0" in password:
            return None
        if "local" in self.open:
            with db.read() as session:
                kept = accounts.password_hash(session, user)
            if fits(password, kept):  # as long for a name that nobody has
                return user, "local"
            if kept is not None:
                return None
        for way, check in self._elsewhere.items():
            found = check(user, password)
            if found is not None and accounts.is_user_name(found):
                return found, way
        return None


def _check_of(way: str, settings: Settings) -> Check:
    return cast(Check, _module(way).check_of(settings))


def _module(way: str) -> ModuleType:
    try:
        return import_module(_ELSEWHERE[way])
    except ModuleNotFoundError as missing:
        raise SetupProblem(
            f"`logins` has `{way}`, which needs {missing.name}: pip install 'slurm-tracker[{way}]'."
        ) from None


def install(app: Flask, settings: Settings) -> None:
    """Open the ways of the settings."""
    app.extensions["tracker.ways"] = opened = Ways(settings)
    if "oidc" in opened.open:
        _module("oidc").install(app, settings)


def ways() -> Ways:
    """The ways of this server."""
    return cast(Ways, current_app.extensions["tracker.ways"])
