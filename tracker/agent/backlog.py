"""What of the job folders the server has, and what comes next.

Nothing of it is kept on disk: after a restart the server tells.
"""

from __future__ import annotations

import math
import pwd
import time
from functools import lru_cache
from typing import Any, Iterable, Iterator, NamedTuple

from tracker.agent.scripts import ENDS_BYTES, is_over
from tracker.agent.spool import JobSpools, SpoolFolder, is_quiet
from tracker.errors import NotKnownYet
from tracker.events import JobFolder

_PROBE_BYTES = 64 * 1024
_MOST_PARTS = 200  # a part costs the server a row or two, however short it is
_LEFT_ALONE_S = 600.0  # a file that the server cannot use
_NOT_KNOWN_YET_S = 10.0  # one of a job of which the server waits to hear whose it is
_UNREAD_S = 10.0  # a file that cannot be read
_DEATH_CHECK_EVERY_S = 5.0
_TELL_AGAIN_S = 60.0
_MOST_SAID = 20  # of one folder: its user can make any number of files strange
_LONGEST_REST_S = 15.0
_REST = 1 / 20  # of the time in which nothing changed in a folder passes until it is looked at again
_COST = 50  # times as long as it took to look at it, too: a user can put many files there
DEFAULT_LIMIT_BYTES = 2 * 1024**3  # the client's own limit is half of it, and its user's to raise


class Part(NamedTuple):
    """A part of a request: what the manifest says of it, without its length, and its bytes."""

    says: dict[str, Any]
    content: bytes


class _File:
    """A writer's file: its size, and what the server has of it (None: not known)."""

    __slots__ = ("held", "is_unread", "left_alone_until_s", "nothing_at", "size", "turn")

    def __init__(self) -> None:
        self.size = 0
        self.held: int | None = None
        self.nothing_at = -1  # the size at which there was no whole line beyond what is held
        self.left_alone_until_s = 0.0
        self.turn = 0
        self.is_unread = False  # it could not be read when it should have been

    def is_held(self) -> bool:
        """Say whether the server has every whole line of it."""
        return (self.held or 0) >= self.size or self.nothing_at == self.size

    def held_bytes(self) -> int:
        """Return how much of what is there the server has."""
        return min(self.held or 0, self.size)

    def forget(self) -> None:
        """Forget what the server said of it."""
        self.held, self.nothing_at = None, -1


class _Job:
    """A job's folder as of the last look at it."""

    def __init__(self, seen: SpoolFolder) -> None:
        self.seen = seen
        self.files: dict[str, _File] = {}
        self.turn = 0
        self.next_look_s = 0.0
        self.changed_s = time.monotonic()
        self.left_out_bytes = 0  # above the limit: what the server does not get
        self.told_left_out = (0, -math.inf)  # bytes, and when
        self.is_gone = False  # the server was told that nobody writes here any more
        self.is_asked_again = False  # released, and the server is asked whether it has all indeed
        self.kept: SpoolFolder | None = None  # released, and cannot be removed as it was then
        self.said: set[str] = set()

    def take(self, seen: SpoolFolder, cost_s: float) -> None:
        """Take note of what was seen just now, for which a look took so long."""
        now_s = time.monotonic()
        if seen != self.seen:
            self.changed_s = now_s
        self.next_look_s = now_s + max(min((now_s - self.changed_s) * _REST, _LONGEST_REST_S), cost_s * _COST)
        self.seen = seen
        self.files = {writer: self.files.get(writer) or _File() for writer in seen.sizes}
        for writer, size in seen.sizes.items():
            self.files[writer].size = size

    def is_drained(self) -> bool:
        """Say whether the server has every whole line."""
        return self.seen.is_whole and (bool(self.left_out_bytes) or all(one.is_held() for one in self.files.values()))

    def oddities(self) -> Iterator[str]:
        """Yield what is strange in here."""
        if not self.seen.is_whole:
            yield " cannot be seen whole (too many files, or a sick disk): it is shipped as far as that goes, and stays"
        for writer, file in self.files.items():
            if (file.held or 0) > file.size:
                yield f"/{writer}.jsonl is shorter than what the server has of it: what comes is read beyond that only"
            if file.is_unread:
                yield f"/{writer}.jsonl cannot be read: it is tried again and again"

    def measure(self, limit_bytes: int) -> None:
        """Find out how much the server does not get, because it has that much already."""
        all_bytes = sum(self.seen.sizes.values())
        held_bytes = sum(one.held_bytes() for one in self.files.values()) if all_bytes > limit_bytes else 0
        self.left_out_bytes = all_bytes - held_bytes if held_bytes >= limit_bytes < all_bytes else 0

    def waiting(self, now_s: float) -> Iterator[tuple[str, _File]]:
        """Yield writers and files of which the server lacks something."""
        if not self.left_out_bytes:
            for writer, file in self.files.items():
                if not file.is_held() and file.left_alone_until_s <= now_s:
                    yield writer, file


class Backlog:
    """All job folders of a spool."""

    def __init__(self, spools: JobSpools, user: str | None = None, limit_bytes: int = DEFAULT_LIMIT_BYTES) -> None:
        """Take the folders, and the name of their jobs' user if it is not that of their owner here.

        Of a folder about `limit_bytes` are shipped: what a user writes beyond must not keep node and server busy.
        """
        self._spools = spools
        self._user = user
        self._limit_bytes = limit_bytes
        self._jobs: dict[str, _Job] = {}
        self._turns = 0
        self._next_death_check_s = 0.0

    @property
    def folders(self) -> dict[str, SpoolFolder]:
        """All folders as of the last look at each, by name."""
        return {name: job.seen for name, job in self._jobs.items()}

    def look(self) -> None:
        """Look at all folders; seldom at those in which nothing changes. Raises SetupProblem for an unsafe spool."""
        jobs: dict[str, _Job] = {}
        for name in self._spools.names():
            began_s = time.monotonic()
            job = self._jobs.get(name)
            if job is None or began_s >= job.next_look_s:
                seen = self._spools.look(name)
                if seen is None:
                    continue
                job = job or _Job(seen)
                job.take(seen, time.monotonic() - began_s)
            job.measure(self._limit_bytes)
            jobs[name] = job
        self._jobs = jobs

    def wake(self) -> None:
        """Look at every folder the next time."""
        for job in self._jobs.values():
            job.next_look_s = 0.0

    def left_out(self) -> Iterator[Part]:
        """Yield a part for each folder that is above the limit, again when much more was left out."""
        now_s = time.monotonic()
        for name, job in self._jobs.items():
            told_bytes, told_s = job.told_left_out
            if job.left_out_bytes > told_bytes and now_s > told_s + _TELL_AGAIN_S:
                job.told_left_out = (job.left_out_bytes, now_s)
                says = {"type": "left_out", "folder": name, "left_bytes": job.left_out_bytes}
                yield Part({**says, "limit_bytes": self._limit_bytes}, b"")

    def oddities(self) -> Iterator[str]:
        """Yield sentences for the administrator, each once."""
        for name, job in self._jobs.items():
            for sentence in job.oddities():
                if sentence not in job.said and len(job.said) < _MOST_SAID:
                    job.said.add(sentence)
                    yield f"{name}{sentence}"

    def parts(self, room_bytes: int) -> Iterator[Part]:
        """Yield lines that the server lacks, about `room_bytes`; jobs take turns, and so do the files of each job."""
        for name, writer in self._in_turn(time.monotonic())[:_MOST_PARTS]:
            if room_bytes <= 0:
                return
            job = self._jobs[name]
            file = job.files[writer]
            # After a restart the server may have all of a long file already: ask before sending it.
            probe = file.held is None and (file.size > _PROBE_BYTES or job.is_asked_again)
            content = b"" if probe else self._spools.read_lines(name, writer, file.held or 0)
            file.is_unread = content is None
            if content is None:
                file.left_alone_until_s = time.monotonic() + _UNREAD_S
                job.next_look_s = 0.0  # it may be gone
                continue
            if not content and not probe:
                file.nothing_at = file.size
                continue
            self._turns += 1
            file.turn = job.turn = self._turns
            room_bytes -= len(content)
            says = {"type": "lines", "folder": name, "writer": writer, "offset": file.held or 0}
            yield Part({**says, "uid": job.seen.uid, "user": self._user or user_name(job.seen.uid)}, content)

    def is_waiting(self) -> bool:
        """Say whether there are lines to send at once, as of the last look."""
        now_s = time.monotonic()
        return any(True for job in self._jobs.values() for _ in job.waiting(now_s))

    def gone(self) -> Iterator[Part]:
        """Yield a part for each run outside Slurm whose script died without a goodbye."""
        now_s = time.monotonic()
        if now_s < self._next_death_check_s:
            return
        self._next_death_check_s = now_s + _DEATH_CHECK_EVERY_S
        for name in self.drained():
            job, parsed = self._jobs[name], JobFolder.parse(name)
            if parsed is None or parsed.run_id is None or job.is_gone:
                continue
            if is_over([self._spools.read_ends(name, writer, ENDS_BYTES) for writer in job.files]):
                yield Part({"type": "gone", "folder": name, "time": time.time()}, b"")

    def took(self, part: Part, answer: dict[str, Any]) -> None:
        """Learn from the server's answer to a part."""
        job = self._jobs[part.says["folder"]]
        if part.says["type"] == "gone":
            job.is_gone = True
        if part.says["type"] != "lines":
            return
        file = job.files[part.says["writer"]]
        offset = answer.get("offset")
        if type(offset) is not int or offset < 0:  # an error: the server cannot use this file, now at least
            error = answer.get("error")
            is_early = isinstance(error, dict) and error.get("code") == NotKnownYet.code
            file.left_alone_until_s = time.monotonic() + (_NOT_KNOWN_YET_S if is_early else _LEFT_ALONE_S)
            return
        if part.content and offset == part.says["offset"]:
            file.left_alone_until_s = time.monotonic() + 1  # taken without progress: no reason to hurry
        file.held, file.nothing_at = offset, -1

    def doubt(self) -> None:
        """Forget what the server said: after an outage its data may be those of a backup."""
        for job in self._jobs.values():
            job.is_asked_again = False
            for file in job.files.values():
                file.forget()

    def progress(self) -> tuple[int, int]:
        """Return how many bytes of all files the server has, and how many there are."""
        files = [file for job in self._jobs.values() for file in job.files.values()]
        return sum(file.held_bytes() for file in files), sum(file.size for file in files)

    def drained(self) -> list[str]:
        """Return the folders of which the server has every whole line."""
        return [name for name, job in self._jobs.items() if job.is_drained()]

    def is_drained(self) -> bool:
        """Say whether the server has every whole line of every folder."""
        return all(job.is_drained() for job in self._jobs.values())

    def released(self, names: Iterable[str], announced: Iterable[str]) -> list[str]:
        """Remove folders that the server releases of those announced as drained. Returns those that are gone.

        What is removed is gone for good, and the database may have lost its last seconds since the server said that it
        has a file. So it is asked once more for each file, and the folder goes when it is released again.
        """
        names, gone = set(names), []
        for name in announced:
            job = self._jobs[name]
            if name not in names:
                job.is_asked_again = False
            elif job.is_drained() and job.kept != job.seen and self._is_removed(job):
                gone.append(name)
                del self._jobs[name]
        return gone

    def _is_removed(self, job: _Job) -> bool:
        if not job.is_asked_again:
            if is_quiet(job.seen):
                job.is_asked_again = True
                for file in job.files.values():
                    file.forget()
            return False
        job.is_asked_again = False
        if self._spools.remove(job.seen):
            return True
        job.kept, job.next_look_s = job.seen, 0.0
        return False

    def is_asking(self) -> bool:
        """Say whether the server should be told at once that a folder which it released is drained indeed."""
        return any(job.is_asked_again and job.is_drained() for job in self._jobs.values())

    def _in_turn(self, now_s: float) -> list[tuple[str, str]]:
        """Return the files that wait: of each job one, then a second; no job waits behind another with many files."""
        found: list[tuple[int, int, str, str]] = []
        for name, job in self._jobs.items():
            waiting = sorted((file.turn, writer) for writer, file in job.waiting(now_s))
            found += [(place, job.turn, name, writer) for place, (_, writer) in enumerate(waiting)]
        return [(name, writer) for _, _, name, writer in sorted(found)]


def user_name(uid: int) -> str | None:
    """Return the name of a user; None for one that this machine does not know."""
    try:
        return _user_name(uid)
    except KeyError:
        return None


@lru_cache(maxsize=1024)
def _user_name(uid: int) -> str:
    return pwd.getpwuid(uid).pw_name
