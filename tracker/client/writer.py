"""The file that a process writes for a run: opened anew where it is lost, and no fuller than its folder may get."""

from __future__ import annotations

import os
import time

from tracker.client import encode, worker
from tracker.client.drops import Drops
from tracker.client.identity import rank, writer_header
from tracker.client.room import Room, in_words, limit_bytes
from tracker.client.said import say_once
from tracker.client.spool import NoSpool, is_on_network, new_file, new_spool_file, places, places_of_new_run
from tracker.client.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Mapping

_LOOK_EVERY_S = 1.0
_FLUSH_EVERY_S = 4.0  # so that other hosts see a line 5 s later at most
_FULL_LOOK_EVERY_S = 60.0
_MOST_OVER_BYTES = 16 * 1024**2  # of a share, while the background has other work


class Writer:
    """Appends lines. `run_id` is that of a run that is no job's own, `joined` that another process began the run.

    `is_renewed` tells that the file is not its first. `file`, `room` and `look_at_s` are there for `Run.log`, which
    does by itself what `append` and `look` do mostly.
    """

    def __init__(self, env: Mapping[str, str], *, new: bool) -> None:
        """Open a file in the first place that takes it. Raises NoSpool."""
        self._env = env
        self._place, self.file = new_spool_file(places_of_new_run(env) if new else places(env))
        self.run_id, self.joined = self._place.run_id, self._place.joined
        self.is_closed = self.is_renewed = False
        self.look_at_s = self._renew_at_s = 0.0
        self._begin_counting()
        self._write_header()

    def _begin_counting(self) -> None:
        self.room = Room(limit_bytes(self._env), self.folder)
        self._full_look_at_s = 0.0
        self._drops = Drops()
        self._flushed_bytes = -1  # not asked for
        self._background_bytes = 0

    @property
    def folder(self) -> str:
        """The folder of the file."""
        return self._place.folder

    def append(self, line: bytes) -> None:
        """Append a line, or count it among those that were dropped."""
        if worker.is_here():
            self._background_bytes += len(line)
        self.room.left_bytes -= len(line)
        if self.room.left_bytes < 0 or not self.file.append(line):
            self.append_closely(line)

    def append_closely(self, line: bytes) -> None:
        """Append what has no room dealt, or what the file did not take: it may be gone, or the disk full."""
        if self.is_closed:
            say_once(f"over {self.run_id}", "what is logged after finish() is not kept (said once)")
        elif self.room.is_full:
            limit = f"above the limit of {in_words(self.room.limit_bytes)} (TRACKER_SPOOL_LIMIT)"
            self._drops.add(f"were {limit}", f"{self.folder} is {limit}")
        elif self.room.left_bytes < 0 and self.file.fd >= 0 and self.file.append(line):
            self._measure()
        elif not self._renewed() or not self.file.append(line):
            self._drops.add("were refused by the file system", f"{self.folder} takes no more (disk full?)")

    def look(self, now_s: float) -> None:
        """Look, once a second: is the file still there, is there something lost to tell of."""
        self.look_at_s = now_s + _LOOK_EVERY_S
        if self.file.size_bytes() < 0:
            self.file.close()
            self._renewed()
        if self.room.is_full and now_s >= self._full_look_at_s:
            self._full_look_at_s = now_s + _FULL_LOOK_EVERY_S
            self._measure()
        if self._drops.are_due(now_s):
            self._tell_drops()

    def end(self, line: bytes | None) -> None:
        """Append the last line, however full the folder is, after what is to be told of drops."""
        self._tell_drops()
        if line is not None:
            self.file.append(line)

    def close(self) -> None:
        """Close the file. What is appended later is not kept."""
        self.is_closed = True
        self.file.close()

    def forked(self) -> None:
        """Become the writer of a forked child, which has its own file once it appends."""
        self.file.close()
        self._begin_counting()

    def written_bytes(self) -> int:
        """Return how much the script has written, to see later whether it wrote more; the background does not count."""
        return self.file.size_bytes() - self._background_bytes

    def _write_header(self) -> bool:
        if self._flushed_bytes < 0 and is_on_network(self.folder):
            self._flushed_bytes = 0
            worker.every(_FLUSH_EVERY_S, self._flush, "flush")
        return self.file.append(encode.line_of(writer_header(self._env, time.time(), self.run_id)))

    def _flush(self) -> None:
        size_bytes = self.file.size_bytes()
        if size_bytes > self._flushed_bytes:
            os.fsync(self.file.fd)
        self._flushed_bytes = max(0, size_bytes)

    def _measure(self) -> None:
        """Have the folder measured: at once where that is quick, else in the background, and the share is passed."""
        is_local = self._flushed_bytes < 0
        if is_local or self.room.left_bytes < -_MOST_OVER_BYTES:
            self.room.look()
        elif not self.room.is_looking:
            self.room.is_looking = True
            if not worker.later(self.room.look, "size of the spool"):
                self.room.look()

    def _renewed(self) -> bool:
        """Open a new file if this process lost its own: forked, or closed by the script."""
        if self.file.fd >= 0 or time.time() < self._renew_at_s:
            return False
        try:
            self.file = new_file(self._place)
        except OSError:
            try:
                self._place, self.file = new_spool_file(places(self._env))
            except NoSpool:
                self._renew_at_s = time.time() + _LOOK_EVERY_S
                return False
        self.is_renewed = True
        return self._write_header()

    def _tell_drops(self) -> None:
        """Note how much was dropped in all, however full the folder is."""
        reason = self._drops.untold()
        if reason:
            node = self._env.get("SLURMD_NODENAME") or os.uname().nodename
            if self.file.append(note_line(f"dropped by rank {rank(self._env)}, {node}, {os.getpid()}", reason)):
                self._drops.told()


def note_line(key: str, reason: str) -> bytes:
    """Return the line that says what could not be kept, and why."""
    return encode.line_of({"event": "note", "key": key, "reason": reason, "time": time.time()})
