"""How many requests one user may send; agents deliver as much as they must."""

from __future__ import annotations

import logging
import threading
import time
from math import ceil
from typing import Any

from flask import Flask, g, request
from limits import parse
from limits.errors import ConfigurationError, StorageError
from limits.storage import Storage, storage_from_string
from limits.strategies import FixedWindowRateLimiter
from werkzeug.exceptions import TooManyRequests

from tracker.errors import BadInput
from tracker.settings import Settings

log = logging.getLogger("tracker.limits")

_FREE = {"static", "health.healthz", "health.readyz", "api.ingest.deliver"}


_MOST_KEYS = 10_000


class _InProcess(Storage):
    """Counts of this process. The library's own starts a thread for each hit, which costs more than the request."""

    STORAGE_SCHEME = ["process"]  # noqa: RUF012
    base_exceptions = ()

    def __init__(self, uri: str | None = None, **options: Any) -> None:
        super().__init__(uri, **options)
        self._counts: dict[str, tuple[int, float]] = {}  # how many, until when
        self._lock = threading.Lock()

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        """Count on, from 0 when the window is over; answer the count."""
        now_s = time.time()
        with self._lock:
            count, until_s = self._counts.get(key, (0, 0.0))
            if until_s <= now_s:
                count, until_s = 0, now_s + expiry
                self._forget(now_s)
            self._counts[key] = (count + amount, until_s)
            return count + amount

    def _forget(self, now_s: float) -> None:
        if len(self._counts) >= _MOST_KEYS:
            kept = {key: one for key, one in self._counts.items() if one[1] > now_s}
            self._counts = kept if len(kept) < _MOST_KEYS else {}

    def get(self, key: str) -> int:
        """The count."""
        count, until_s = self._counts.get(key, (0, 0.0))
        return count if until_s > time.time() else 0

    def get_expiry(self, key: str) -> float:
        """When the window is over, in seconds since 1970."""
        return self._counts.get(key, (0, time.time()))[1]

    def check(self) -> bool:
        """It always works."""
        return True

    def reset(self) -> int | None:
        """Forget all."""
        self._counts = {}
        return None

    def clear(self, key: str) -> None:
        """Forget one."""
        self._counts.pop(key, None)


def install(app: Flask, settings: Settings) -> None:
    """Let the application refuse what is too much. Raises BadInput for a limit that is none."""
    if not settings.rate_limit:
        return
    try:
        limit = parse(settings.rate_limit)
        storage = storage_from_string(settings.rate_limit_storage or "process://", wrap_exceptions=True)
    except (ValueError, ConfigurationError) as problem:
        raise BadInput(f"`rate_limit` is such as `600/minute`, `rate_limit_storage` a URL: {problem}.") from None
    window = FixedWindowRateLimiter(storage)

    def refuse_too_many() -> None:
        if request.endpoint in _FREE:
            return
        try:
            if not window.hit(limit, _who()):
                raise TooManyRequests(retry_after=ceil(window.get_window_stats(limit, _who()).reset_time - time.time()))
        except StorageError as problem:  # better too many requests than none
            log.warning("requests cannot be counted: %s", problem)

    app.before_request(refuse_too_many)


def _who() -> str:
    identity = g.get("identity")
    return f"user {identity.user}" if identity else f"address {request.remote_addr}"
