"""Gives each job a token of its own, in its folder: where there is no MUNGE, it tells the server whose program asks."""

from __future__ import annotations

import re
import time
from typing import Any, Mapping

from tracker.agent.backlog import user_name
from tracker.agent.spool import JobSpools, SpoolFolder

MOST_NAMED = 1000
_AGAIN_AFTER_S = 5.0
_LONGEST_WAIT_S = 300.0
_TOKEN = re.compile(r"[A-Za-z0-9._-]{1,1000}\Z")


class JobTokens:
    """Which jobs have their tokens, and when the server is asked for those of the others."""

    def __init__(self, spools: JobSpools) -> None:
        self._spools = spools
        self._given: set[str] = set()
        self._waits: dict[str, tuple[float, float]] = {}  # when to ask, and how long to wait after that

    def asks(self, folders: Mapping[str, SpoolFolder]) -> dict[str, str]:
        """Return the jobs for which the server should be asked now, and whose folders those are.

        It is asked seldom for one of which it does not know.
        """
        now_s = time.monotonic()
        self._given &= folders.keys()
        self._waits = {name: wait for name, wait in self._waits.items() if name in folders}
        asked: dict[str, str] = {}
        for name, folder in folders.items():
            due_s, wait_s = self._waits.get(name, (0.0, _AGAIN_AFTER_S))
            if name in self._given or name.startswith("local.") or now_s < due_s or len(asked) >= MOST_NAMED:
                continue
            user = user_name(folder.uid)
            if user is not None:
                asked[name] = user
            self._waits[name] = (now_s + wait_s, min(wait_s * 2, _LONGEST_WAIT_S))
        return asked

    def pass_on(self, tokens: Any, folders: Mapping[str, SpoolFolder]) -> None:
        """Put what the server answered into the jobs' folders."""
        for name, token in tokens.items() if isinstance(tokens, dict) else ():
            seen = folders.get(name)
            if seen and isinstance(token, str) and _TOKEN.match(token) and self._spools.give_token(seen, token):
                self._given.add(name)
