"""How many requests one user may send; agents deliver as much as they must."""

from __future__ import annotations

import logging
import threading
import time
from math import ceil
from typing import Any, cast

from flask import Flask, g, request
from limits import RateLimitItem, parse
from limits.errors import ConfigurationError, StorageError
from limits.storage import Storage, storage_from_string
from limits.strategies import FixedWindowRateLimiter
from werkzeug.exceptions import TooManyRequests

from tracker.errors import BadInput
from tracker.settings import Settings
from web import peers

log = logging.getLogger("tracker.limits")

_FREE = {"static", "health.healthz", "health.readyz"}
_MOST_KEYS = 10_000
_PATIENCE_WITH_REDIS: Any = {"socket_timeout": 0.5, "socket_connect_timeout": 0.5}
_AGAIN_AFTER_S = 5.0
"""So long a storage that is away is not asked again: nobody waits for it."""


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


class Counts:
    """How often each of several has done something: counted in a shared storage, in this process while that is away."""

    def __init__(self, limit: RateLimitItem, shared: Storage | None = None) -> None:
        self._limit = limit
        self._own = FixedWindowRateLimiter(_InProcess())
        self._shared = None if shared is None else FixedWindowRateLimiter(shared)
        self._is_away = False
        self._not_before_s = 0.0

    def wait_s(self, who: str) -> int:
        """Count one more; answer 0, or after how many seconds there may be another one."""
        if self._shared is not None and time.monotonic() >= self._not_before_s:
            try:
                wait_s = self._counted(self._shared, who)
            except StorageError as problem:
                self._not_before_s = time.monotonic() + _AGAIN_AFTER_S
                self._tell(f"it does not answer ({str(problem)[:200]}), and each process counts for itself")
            else:
                self._tell(None)
                return wait_s
        return self._counted(self._own, who)

    def _counted(self, window: FixedWindowRateLimiter, who: str) -> int:
        if window.hit(self._limit, who):
            return 0
        return max(1, ceil(window.get_window_stats(self._limit, who).reset_time - time.time()))

    def _tell(self, problem: str | None) -> None:
        """Say that the shared storage is away, or back, once each."""
        if self._is_away != bool(problem):
            self._is_away = bool(problem)
            log.warning("rate_limit_storage: %s", problem or "it answers again, and counts for all")


def install(app: Flask, settings: Settings) -> None:
    """Let the application refuse what is too much. Raises BadInput for a limit that is none."""
    if not settings.rate_limit:
        return
    try:
        counts = Counts(parse(settings.rate_limit), shared(settings.rate_limit_storage))
    except (ValueError, ConfigurationError) as problem:
        raise BadInput(f"`rate_limit` is such as `600/minute`, `rate_limit_storage` a URL: {problem}.") from None

    def refuse_too_many() -> None:
        wait_s = 0 if _is_free() else counts.wait_s(_who())
        if wait_s:
            raise TooManyRequests(retry_after=wait_s)

    app.before_request(refuse_too_many)


def shared(url: str) -> Storage | None:
    """Where all processes and servers count together, if they do."""
    if not url:
        return None
    patience = _PATIENCE_WITH_REDIS if url.partition(":")[0] in ("redis", "rediss", "redis+unix") else {}
    return cast(Storage, storage_from_string(url, wrap_exceptions=True, **patience))


def _is_free() -> bool:
    """Whether it may come any number of times: agents deliver as much as they must, people do not."""
    identity = g.get("identity")
    return request.endpoint in _FREE or (
        request.endpoint == "api.ingest.deliver" and identity is not None and identity.may_ingest
    )


def _who() -> str:
    identity = g.get("identity")
    return f"user {identity.user}" if identity else f"address {peers.address()}"
