"""How often somebody may try to log in: with one account, and from one address."""

from __future__ import annotations

from typing import cast

from flask import Flask, current_app
from limits import parse
from limits.errors import ConfigurationError
from werkzeug.exceptions import TooManyRequests

from tracker.errors import BadInput
from tracker.settings import Settings
from tracker.store import accounts
from web import audit, peers
from web.limits import Counts, shared

_FOR_ONE_ADDRESS = 5
"""An address may stand for many people; it may try so much more often."""


class Attempts:
    """Counts who tries. Raises BadInput for a limit that is none."""

    def __init__(self, settings: Settings) -> None:
        try:
            limit, storage = parse(settings.login_limit), shared(settings.rate_limit_storage)
        except (ValueError, ConfigurationError) as problem:
            raise BadInput(f"`login_limit` is such as `10/minute`, `rate_limit_storage` a URL: {problem}.") from None
        self._with_account = Counts(limit, storage)
        self._from_address = Counts(type(limit)(limit.amount * _FOR_ONE_ADDRESS, limit.multiples), storage)

    def wait_s(self, account: str | None) -> int:
        """Count one more; answer 0, or after how many seconds there may be another one."""
        wait_s = self._from_address.wait_s(f"login from {peers.address()}")
        if not wait_s and account is not None:
            wait_s = self._with_account.wait_s(f"login as {account.casefold()[:100]}")
        return wait_s


def install(app: Flask, settings: Settings) -> None:
    """Let the application count."""
    app.extensions["tracker.attempts"] = Attempts(settings) if settings.login_limit else None


def require_patience(account: str | None = None) -> None:
    """Raise TooManyRequests for who has tried too often. It is asked before anything is looked at."""
    attempts = cast("Attempts | None", current_app.extensions["tracker.attempts"])
    wait_s = attempts.wait_s(account) if attempts else 0
    if wait_s:
        named = account if account and accounts.is_user_name(account) else "no name"
        audit.note_refusal("login.refused", named, "too many attempts")
        raise TooManyRequests(retry_after=wait_s)
