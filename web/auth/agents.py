"""Agents whose keys were looked up a moment ago: a thousand nodes with one key ask the database once in a while."""

from __future__ import annotations

import time

from tracker.store.identity import Identity

KNOWN_FOR_S = 2.0
"""So long an agent still delivers whose key was taken away. Keys of people are looked up for each request."""
_MOST = 10_000


class Agents:
    """Keys of agents by their secrets, until when each is known without a look."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[Identity, float]] = {}

    def known(self, secret: str) -> Identity | None:
        """Whose key it is, if that was looked up a moment ago."""
        identity, until_s = self._known.get(secret, (None, 0.0))
        return identity if time.monotonic() < until_s else None

    def remember(self, secret: str, identity: Identity) -> None:
        """Note whose key it is, if it is an agent's."""
        if identity.may_ingest and not identity.sees_own:
            if len(self._known) >= _MOST:
                self._known.clear()
            self._known[secret] = identity, time.monotonic() + KNOWN_FOR_S
