"""Passes on what the server tells jobs, into their folders."""

from __future__ import annotations

import json
import time
from typing import Any, Mapping

from tracker.agent.spool import JobSpools, SpoolFolder

_EVERY_S = 2.0
_KEYS = ("attempt", "ends_at", "last_step")


class Told:
    """What each job was told last, so that its file is written when that changes, and every 2 s at most."""

    def __init__(self, spools: JobSpools) -> None:
        self._spools = spools
        self._last: dict[str, tuple[bytes, float]] = {}

    def pass_on(self, tell: Any, folders: Mapping[str, SpoolFolder]) -> None:
        """Write the files of those jobs of which the answer tells something new."""
        self._last = {name: last for name, last in self._last.items() if name in folders}
        for one in tell if isinstance(tell, list) else []:
            name = one.get("folder") if isinstance(one, dict) else None
            if not isinstance(name, str) or name not in folders:
                continue
            known = {key: one[key] for key in _KEYS if type(one.get(key)) in (int, float)}
            content = json.dumps(known).encode() + b"\n"
            before, at_s = self._last.get(name, (b"", -_EVERY_S))
            if content != before and time.monotonic() >= at_s + _EVERY_S:
                self._spools.tell(folders[name], content)
                self._last[name] = (content, time.monotonic())
