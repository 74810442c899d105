"""What of the job folders the server has, and what comes next.

Nothing of it is kept on disk: after a restart the server tells.
"""

from __future__ import annotations

import math
import pwd
import time
from functools import lru_cache
from typing import Any, Iterable, Iterator, NamedTuple, Tuple

from tracker.agent.scripts import ENDS_BYTES, is_over
from tracker.agent.spool import JobSpools, SpoolFolder, is_quiet
from tracker.events import JobFolder

_PROBE_BYTES = 64 * 1024
_MOST_PARTS = 200  # a part costs the server a row or two, however short it is
_LEFT_ALONE_S = 600.0
_DEATH_CHECK_EVERY_S = 5.0
_TELL_AGAIN_S = 60.0
DEFAULT_LIMIT_BYTES = 2 * 1024**3  # the client's own limit is half of it, and its user's to raise

File = Tuple[str, str]  # folder, writer


class Part(NamedTuple):
    """A part of a request: what the manifest says of it, without its length, and its bytes."""

    says: dict[str, Any]
    content: bytes


class Backlog:
    """All job folders of a spool."""

    def __init__(self, spools: JobSpools, user: str | None = None, limit_bytes: int = DEFAULT_LIMIT_BYTES) -> None:
        """Take the folders, and the name of their jobs' user if it is not that of their owner here.

        Of a folder about `limit_bytes` are shipped: what a user writes beyond must not keep node and server busy.
        """
        self._spools = spools
        self._user = user
        self._limit_bytes = limit_bytes
        self._full: dict[str, int] = {}  # folders of which the server has enough: how many bytes it does not get
        self._told_full: dict[str, tuple[int, float]] = {}
        self._held: dict[File, int] = {}  # what the server has of a file
        self._left_alone_until_s: dict[File, float] = {}
        self._quiet_at: dict[File, int] = {}  # size of a file that has no whole line beyond what is held
        self._turn: dict[File, int] = {}
        self._folder_turn: dict[str, int] = {}
        self._turns = 0
        self._cut: set[File] = set()
        self._gone: set[str] = set()
        self._asked_again: set[str] = set()  # released folders of which the server is asked whether it has all
        self._kept: dict[str, SpoolFolder] = {}  # released folders that cannot be removed as they are
        self._next_death_check_s = 0.0
        self.folders: dict[str, SpoolFolder] = {}

    def look(self) -> None:
        """Look at all folders. Raises SetupProblem when the spool cannot be trusted."""
        seen = (self._spools.look(name) for name in self._spools.names())
        self.folders = {folder.name: folder for folder in seen if folder is not None}
        present = {(name, writer) for name, folder in self.folders.items() for writer in folder.sizes}
        for memory in (self._held, self._left_alone_until_s, self._quiet_at, self._turn):
            for file in [file for file in memory if file not in present]:
                del memory[file]
        self._folder_turn = {name: turn for name, turn in self._folder_turn.items() if name in self.folders}
        for names in (self._gone, self._asked_again):
            names.intersection_update(self.folders)
        self._kept = {name: folder for name, folder in self._kept.items() if name in self.folders}
        self._full = dict(self._above_limit())

    def _above_limit(self) -> Iterator[tuple[str, int]]:
        for name, folder in self.folders.items():
            all_bytes = sum(folder.sizes.values())
            if all_bytes > self._limit_bytes:
                held = sum(min(self._held.get((name, writer), 0), size) for writer, size in folder.sizes.items())
                if held >= self._limit_bytes:
                    yield name, all_bytes - held

    def left_out(self) -> Iterator[Part]:
        """Yield a part for each folder that is above the limit, again when much more was left out."""
        now_s = time.monotonic()
        for name, left_bytes in self._full.items():
            told_bytes, told_s = self._told_full.get(name, (0, -math.inf))
            if left_bytes > told_bytes and now_s > told_s + _TELL_AGAIN_S:
                self._told_full[name] = (left_bytes, now_s)
                says = {"type": "left_out", "folder": name, "left_bytes": left_bytes, "limit_bytes": self._limit_bytes}
                yield Part(says, b"")

    def cut(self) -> list[File]:
        """Return files that are shorter than what the server has of them, each once: somebody cut or replaced them."""
        sizes = {(name, writer): size for name, folder in self.folders.items() for writer, size in folder.sizes.items()}
        cut = {file for file, held in self._held.items() if held > sizes[file]}
        fresh = sorted(cut - self._cut)
        self._cut = cut
        return fresh

    def parts(self, room_bytes: int) -> Iterator[Part]:
        """Yield lines that the server lacks, about `room_bytes`; jobs take turns, and so do the files of each job."""
        now_s = time.monotonic()
        for name, writer in self._in_turn(now_s)[:_MOST_PARTS]:
            if room_bytes <= 0:
                return
            folder = self.folders[name]
            held = self._held.get((name, writer))
            # After a restart the server may have all of a long file already: ask before sending it.
            probe = held is None and (folder.sizes[writer] > _PROBE_BYTES or name in self._asked_again)
            content = b"" if probe else self._spools.read_lines(name, writer, held or 0)
            if not content and not probe:
                self._quiet_at[name, writer] = folder.sizes[writer]
                continue
            self._turns += 1
            self._turn[name, writer] = self._folder_turn[name] = self._turns
            room_bytes -= len(content)
            says = {"type": "lines", "folder": name, "writer": writer, "offset": held or 0}
            yield Part({**says, "uid": folder.uid, "user": self._user or user_name(folder.uid)}, content)

    def is_waiting(self) -> bool:
        """Say whether there are lines to send at once, as of the last look."""
        return bool(self._waiting(time.monotonic()))

    def gone(self) -> Iterator[Part]:
        """Yield a part for each run outside Slurm whose script died without a goodbye."""
        now_s = time.monotonic()
        if now_s < self._next_death_check_s:
            return
        self._next_death_check_s = now_s + _DEATH_CHECK_EVERY_S
        for name in self.drained():
            parsed = JobFolder.parse(name)
            if parsed is None or parsed.run_id is None or name in self._gone:
                continue
            if is_over([self._spools.read_ends(name, writer, ENDS_BYTES) for writer in self.folders[name].sizes]):
                yield Part({"type": "gone", "folder": name, "time": time.time()}, b"")

    def took(self, part: Part, answer: dict[str, Any]) -> None:
        """Learn from the server's answer to a part."""
        name = part.says["folder"]
        if part.says["type"] == "gone":
            self._gone.add(name)
        if part.says["type"] != "lines":
            return
        file = (name, part.says["writer"])
        offset = answer.get("offset")
        if type(offset) is not int or offset < 0:  # an error: the server cannot use this file, now at least
            self._left_alone_until_s[file] = time.monotonic() + _LEFT_ALONE_S
            return
        if part.content and offset == part.says["offset"]:
            self._left_alone_until_s[file] = time.monotonic() + 1  # taken without progress: no reason to hurry
        self._held[file] = offset
        self._quiet_at.pop(file, None)

    def doubt(self) -> None:
        """Forget what the server said: after an outage its data may be those of a backup."""
        self._held.clear()
        self._quiet_at.clear()
        self._asked_again.clear()

    def progress(self) -> tuple[int, int]:
        """Return how many bytes of all files the server has, and how many there are."""
        sizes = {(name, writer): size for name, folder in self.folders.items() for writer, size in folder.sizes.items()}
        return sum(min(self._held.get(file, 0), size) for file, size in sizes.items()), sum(sizes.values())

    def drained(self) -> list[str]:
        """Return the folders of which the server has every whole line."""
        return [name for name, folder in self.folders.items() if self._is_drained(folder)]

    def released(self, names: Iterable[str], announced: Iterable[str]) -> list[str]:
        """Remove folders that the server releases of those announced as drained. Returns those that are gone.

        What is removed is gone for good, and the database may have lost its last seconds since the server said that it
        has a file. So it is asked once more for each file, and the folder goes when it is released again.
        """
        names, gone = set(names), []
        self._asked_again -= set(announced) - names
        for name in names.intersection(announced):
            folder = self.folders.get(name)
            if folder is None or self._kept.get(name) == folder or not self._is_drained(folder):
                continue
            if name not in self._asked_again:
                if is_quiet(folder):
                    self._ask_again(folder)
                continue
            self._asked_again.discard(name)
            if self._spools.remove(folder):
                gone.append(name)
                del self.folders[name]
            else:
                self._kept[name] = folder
        return gone

    def is_asking(self) -> bool:
        """Say whether the server should be told at once that a folder which it released is drained indeed."""
        return any(self._is_drained(self.folders[name]) for name in self._asked_again)

    def _ask_again(self, folder: SpoolFolder) -> None:
        self._asked_again.add(folder.name)
        for writer in folder.sizes:
            self._held.pop((folder.name, writer), None)
            self._quiet_at.pop((folder.name, writer), None)

    def _in_turn(self, now_s: float) -> list[File]:
        """Return the files that wait: of each job one, then a second; no job waits behind another with many files."""
        places: dict[str, int] = {}
        found: list[tuple[int, int, File]] = []
        for file in sorted(self._waiting(now_s), key=lambda file: self._turn.get(file, 0)):
            name = file[0]
            places[name] = places.get(name, -1) + 1
            found.append((places[name], self._folder_turn.get(name, 0), file))
        return [file for _, _, file in sorted(found, key=lambda one: one[:2])]

    def _waiting(self, now_s: float) -> list[File]:
        return [
            (name, writer)
            for name, folder in self.folders.items()
            for writer, size in folder.sizes.items()
            if not self._is_held(name, writer, size) and self._left_alone_until_s.get((name, writer), 0) <= now_s
        ]

    def _is_drained(self, folder: SpoolFolder) -> bool:
        sizes = folder.sizes.items()
        return folder.is_whole and all(self._is_held(folder.name, writer, size) for writer, size in sizes)

    def _is_held(self, name: str, writer: str, size: int) -> bool:
        file = (name, writer)
        return name in self._full or self._held.get(file, 0) >= size or self._quiet_at.get(file) == size


def user_name(uid: int) -> str | None:
    """Return the name of a user; None for one that this machine does not know."""
    try:
        return _user_name(uid)
    except KeyError:
        return None


@lru_cache(maxsize=1024)
def _user_name(uid: int) -> str:
    return pwd.getpwuid(uid).pw_name
