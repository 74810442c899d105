"""The hooks' event files of a spool, oldest first."""

from __future__ import annotations

import heapq
import os
import stat
import time
from contextlib import suppress
from typing import Iterator, NamedTuple

from tracker.events import is_whole_hook_event

_MOST_EVENT_BYTES = 1024 * 1024
_MOST_BYTES = 2 * 1024 * 1024
_MOST_LISTED = 10_000
_FORGOTTEN_AFTER_S = 3600
_SETTLED_AFTER_S = 5.0
_ENDING = ".event"
_DRAFT_ENDING = ".tmp"  # of hooks of before 2026-11 that were killed while they wrote


class HookEvent(NamedTuple):
    """A hook's event file: its name without ending, the moment of the hook (seconds since 1970), and its bytes."""

    name: str
    time_s: float
    content: bytes


class HookEvents:
    """The folder `events` of a spool. Only its owner can write there."""

    def __init__(self, root: str) -> None:
        self._path = os.path.join(root, "events")
        self._listed: dict[str, float] = {}  # a backlog is listed once, not for each request

    def oldest(self, most: int) -> list[HookEvent]:
        """Return up to `most` events, oldest first, and no more than 2 MiB. They stay until `remove` or `reject`."""
        if not self._listed:
            self._listed = {name: time_s for time_s, name in heapq.nsmallest(_MOST_LISTED, self._list())}
        found: list[HookEvent] = []
        room = _MOST_BYTES
        for name in list(self._listed)[:most]:
            try:
                with open(self._file(name), "rb") as file:
                    content = file.read(_MOST_EVENT_BYTES)
            except OSError:
                del self._listed[name]
                continue
            if not self._is_whole(name, content):
                self._leave(name)
                continue
            room -= len(content)
            if found and room < 0:
                break
            found.append(HookEvent(name, self._listed[name], content))
        return found

    def _is_whole(self, name: str, content: bytes) -> bool:
        """Say whether nothing will be added: hooks of before 2026-11 gave a file its name when it was whole."""
        is_settled = time.time() - self._listed[name] > _SETTLED_AFTER_S and content.endswith(b"\0")
        return is_settled or is_whole_hook_event(content)

    def _leave(self, name: str) -> None:
        """Leave an event that its hook is still writing; of a hook that was killed, forget it after a while."""
        if time.time() - self._listed.pop(name) > _FORGOTTEN_AFTER_S:
            self._unlink(name)

    def _unlink(self, name: str) -> None:
        with suppress(OSError):  # another agent was quicker; where it is impossible, it is sent again
            os.unlink(self._file(name))

    def is_waiting(self) -> bool:
        """Say whether there are more, as of the last time that they were listed."""
        return bool(self._listed)

    def remove(self, name: str) -> None:
        """Remove an event that the server has."""
        self._listed.pop(name, None)
        self._unlink(name)

    def reject(self, name: str) -> None:
        """Put an event that the server cannot use aside, into `events/rejected`."""
        self._listed.pop(name, None)
        rejected = os.path.join(self._path, "rejected")
        with suppress(OSError):  # on a full disk it stays where it is, and is tried again
            os.makedirs(rejected, mode=0o700, exist_ok=True)
            os.replace(self._file(name), os.path.join(rejected, name + _ENDING))

    def _file(self, name: str) -> str:
        return os.path.join(self._path, name + _ENDING)

    def _list(self) -> Iterator[tuple[float, str]]:
        try:
            entries = os.scandir(self._path)
        except OSError:
            return
        with entries:
            for entry in entries:
                try:
                    status = entry.stat(follow_symlinks=False)
                except OSError:
                    continue
                if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid():
                    continue
                if entry.name.endswith(_ENDING):
                    yield status.st_mtime, entry.name[: -len(_ENDING)]
                elif entry.name.endswith(_DRAFT_ENDING) and time.time() - status.st_mtime > _FORGOTTEN_AFTER_S:
                    with suppress(OSError):
                        os.unlink(entry.path)
