"""Agents whose keys were looked up a moment ago: a thousand nodes with one key ask the database once in a while."""

from __future__ import annotations

import time

from tracker.store.tokens import Shown

KNOWN_FOR_S = 2.0
"""So long an agent still delivers whose key was taken away. Keys of people are looked up for each request."""
_MOST = 10_000


class Agents:
    """Keys of agents by their secrets, until when each is known without a look."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[Shown, float]] = {}

    def known(self, secret: str) -> Shown | None:
        """Whose key it is, if that was looked up a moment ago."""
        shown, until_s = self._known.get(secret, (None, 0.0))
        return shown if time.monotonic() < until_s else None

    def remember(self, secret: str, shown: Shown) -> None:
        """Note whose key it is, if it is an agent's."""
        if shown.identity.may_ingest and not shown.identity.sees_own:
            if len(self._known) >= _MOST:
                self._known.clear()
            self._known[secret] = shown, time.monotonic() + KNOWN_FOR_S
