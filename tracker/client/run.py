"""The run that a process logs to, and its stand-in where nothing can be logged."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from contextlib import suppress

from tracker.client import encode, preloaded, redact, room, worker  # noqa: F401
from tracker.client.identity import code_folders, is_captured, rank, slurm_job, writer_header
from tracker.client.spool import (
    NoSpool,
    is_on_network,
    new_file,
    new_spool_file,
    places,
    places_of_new_run,
    this_process,
)
from tracker.client.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any, Callable, MutableMapping

_LOOK_EVERY_S = 1.0
_FLUSH_EVERY_S = 4.0  # so that other hosts see a line 5 s later at most
_FULL_LOOK_EVERY_S = 60.0
_TELL_AT_MOST_EVERY_S = 60.0
_MOST_WARNINGS = 1000
_LEFT_FOR_POINTS_BYTES = 16 * 1024 * 1024
_MOST_OVER_BYTES = 16 * 1024**2  # of a share, while the background has other work
_said: dict[str, str] = {}


def say_once(key: str, message: str) -> bool:
    """Tell the user on stderr, once for each key. True if this was the first time."""
    if key in _said or len(_said) >= _MOST_WARNINGS:
        return False
    _said[key] = message
    with suppress(Exception):  # a closed stderr must not end a training
        sys.stderr.write(f"tracker: {message}\n")
    return True


class NoRun:
    """Takes every call and keeps nothing: `TRACKER_MODE=off`, or no folder can be written."""

    cluster: str | None = None
    job_id: int | None = None
    id: str | None = None
    attempt: int | None = None
    spool: str | None = None
    last_step: int | None = None

    def describe(self, experiment: str | None, name: str | None) -> None:
        """Keep nothing."""

    def log(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Keep nothing."""

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Keep nothing."""

    def set_tags(self, tags: Mapping[str, Any]) -> None:
        """Keep nothing."""

    def tell(self, event: Mapping[str, Any]) -> None:
        """Keep nothing."""

    def note(self, key: str, reason: str) -> None:
        """Keep nothing."""

    def log_artifact(self, path: Any, name: str | None = None, copy: bool = False, step: int | None = None) -> None:
        """Keep nothing."""

    def log_image(self, name: str, image: Any, step: int | None = None) -> None:
        """Keep nothing."""

    def log_figure(self, name: str, figure: Any, step: int | None = None) -> None:
        """Keep nothing."""

    def log_histogram(self, name: str, values: Any, step: int | None = None, bins: int = 64) -> None:
        """Keep nothing."""

    def log_table(self, name: str, columns: Any, rows: Any = None, step: int | None = None) -> None:
        """Keep nothing."""

    def finish(self, exit_code: int = 0, reason: str | None = None) -> None:
        """Keep nothing."""


class Run:
    """The run of this process, or with `tracker.init(new=True)` one beside it.

    `cluster` and `job_id` name its Slurm job, `id` a run that is no job's own (32 hexadecimal digits). `attempt` counts
    from 1, `spool` is the folder this process writes into.
    """

    def __init__(self, env: MutableMapping[str, str], *, new: bool = False, at_end: Callable[[Run], Any]) -> None:
        """Find the run and open a file in its spool. Raises NoSpool when no folder can be written.

        With `new` it is a run of its own. `at_end` is called when the run is finished.
        """
        self._env, self._is_new, self._at_end = env, new, at_end
        self._place, self._file = new_spool_file(places_of_new_run(env) if new else places(env))
        job = slurm_job(env)
        self.cluster = job.cluster if job else None
        self.job_id = job.job_id if job else None
        self.id = self._place.run_id
        self.attempt = job.attempt if job and not new else 1
        self.spool = self._place.folder
        self._is_mine = not self._place.joined  # outside Slurm only the process that began a run may end it
        self._has_ended = self._is_over = False  # the end was told; it is finished with
        self._noted: set[str] = set()
        self._look_at_s = self._renew_at_s = 0.0
        self._begin_counting()
        self._step = self._step_before()
        self._names_steps = self._step is not None  # the server counts a file's steps, and knows no others
        self._has_asked = False  # the agent, for the last step of earlier attempts
        self._begin()

    def _step_before(self) -> int | None:
        if self.attempt == 1:
            return None
        from tracker.client import past  # noqa: PLC0415  # `json` takes 2 ms to load, and most runs have no past

        return past.last_step(self.spool, self.attempt, rank(self._env))

    def _begin(self) -> None:
        self._write_header()
        if self._is_mine and not self._is_new:
            self._env["TRACKER_SPOOL"] = self.spool  # so that the processes started from here join this run
            self._env["TRACKER_BEGUN_BY"] = this_process()
        if self._env.get("TRACKER_EXPERIMENT"):
            self.describe(self._env["TRACKER_EXPERIMENT"], None)
        if not self._is_new:  # its job's, or its script's own run has that
            self._capture_later()

    def _capture_later(self) -> None:
        name = f"{os.path.basename(self.spool)}/{self.attempt}"
        if is_captured(self._env, name):
            env = dict(self._env)
            self._env["TRACKER_CAPTURED"] = name  # processes started from here are a part of this script
            folders = code_folders()
            worker.later(lambda: self._capture(env, folders), "capture")

    def _capture(self, env: Mapping[str, str], folders: list[str]) -> None:
        from tracker.client import capture, pace  # noqa: PLC0415  # in the background: they take 20 ms to load

        line = capture.line(env, folders, pace.Pace(hurried=worker.is_awaited))
        free = os.statvfs(self.spool)
        if free.f_bavail * free.f_frsize < _LEFT_FOR_POINTS_BYTES:
            self.note("capture", "the disk is nearly full, the rest is left for points")
        elif self._file.fd >= 0:
            self._append(line)

    def _begin_counting(self) -> None:
        self._room = room.Room(room.limit_bytes(self._env), self.spool)
        self._full_look_at_s = 0.0
        self._dropped: dict[str, int] = {}  # lines, by why
        self._untold_drops = 0
        self._tell_drops_at_s = self._tell_drops_pause_s = 0.0
        self._flushed_bytes = -1  # not asked for
        self._background_bytes = 0

    def _write_header(self) -> bool:
        if self._flushed_bytes < 0 and is_on_network(self.spool):
            self._flushed_bytes = 0
            worker.every(_FLUSH_EVERY_S, self._flush, "flush")
        return self._file.append(encode.line_of(writer_header(self._env, time.time(), self.id)))

    def _flush(self) -> None:
        size_bytes = self._file.size_bytes()
        if size_bytes > self._flushed_bytes:
            os.fsync(self._file.fd)
        self._flushed_bytes = max(0, size_bytes)

    @property
    def last_step(self) -> int | None:
        """The step logged last, by earlier attempts of this rank while this one logged none. None where unknown.

        Right after a requeue this may take 2 s, once: the agent asks the server what the files here do not tell.
        """
        if self._step is None and self.attempt > 1 and not self._has_asked:
            from tracker.client import past  # noqa: PLC0415  # as in `_step_before`

            self._has_asked = True
            self._step = past.told_step(self.spool, self.attempt)
            self._names_steps = self._step is not None
        return self._step

    def known_step(self) -> int | None:
        """Return the step logged last, as far as that is known without waiting."""
        return self._step

    def describe(self, experiment: str | None, name: str | None) -> None:
        """Name the run's experiment and the run; None changes nothing."""
        said = {key: encode.clean(value) for key, value in (("experiment", experiment), ("name", name)) if value}
        if said:
            self.tell({"event": "run", **said})

    def log(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Log numbers under their names. See `tracker.log`."""
        try:
            now_s = time.time()
            if now_s >= self._look_at_s:
                self._look(now_s)  # first: what is written into a file that is gone nobody reads
            if step is None and self._names_steps:
                step = self._next_step()
            line = encode.quick_points(metrics, step, now_s)
            if line is None:
                self._log_closely(metrics, step, now_s)
            else:
                room = self._room
                room.left_bytes -= len(line)
                if room.left_bytes < 0 or not self._file.append(line):
                    self._append_closely(line)
                self._step = step if step is not None else self._next_step()
        except Exception as problem:  # the outermost place: a tracker never ends a training
            self.note("log", f"{type(problem).__name__}: {problem}")

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Log what the run was started with. See `tracker.log_params`."""
        self._tell_of("params", params)

    def set_tags(self, tags: Mapping[str, Any]) -> None:
        """Tag the run. See `tracker.set_tags`."""
        self._tell_of("tags", tags)

    def tell(self, event: Mapping[str, Any]) -> None:
        """Append an event of docs/spool.md, `{"event": kind, …}`, with the time of now where it says none."""
        if self._is_over:
            return  # work in the background came too late
        try:
            line = encode.line_of({"time": time.time(), **event})
            if len(line) > encode.MAX_LINE_BYTES:
                self.note(str(event.get("event")), f"{len(line)} bytes are more than a line may have")
            else:
                self._append(line)
        except Exception as problem:  # the outermost place, as in `log`
            self.note(str(event.get("event")), f"{type(problem).__name__}: {problem}")

    def note(self, key: str, reason: str) -> None:
        """Say once for each key, on stderr and on the run's page, what could not be kept and why."""
        try:
            key, reason = encode.clean(key)[:500], encode.clean(reason)[:500]
            if key not in self._noted and len(self._noted) < _MOST_WARNINGS:
                self._noted.add(key)
                say_once(f"note {key}", f"{key} is not logged: {reason} (said once)")
                self._append(_note_line(key, reason))
        except Exception:  # telling of trouble makes none; stderr has it
            pass

    def log_artifact(self, path: Any, name: str | None = None, copy: bool = False, step: int | None = None) -> None:
        """Register a file or folder, or copy it. See `tracker.log_artifact`."""
        self._tell_beside("artifact", name or path, path, name, copy, step)

    def log_image(self, name: str, image: Any, step: int | None = None) -> None:
        """Log a picture. See `tracker.log_image`."""
        self._tell_beside("image", name, name, image, step)

    def log_figure(self, name: str, figure: Any, step: int | None = None) -> None:
        """Log a matplotlib figure. See `tracker.log_figure`."""
        self._tell_beside("figure", name, name, figure, step)

    def log_histogram(self, name: str, values: Any, step: int | None = None, bins: int = 64) -> None:
        """Log how numbers are spread. See `tracker.log_histogram`."""
        self._tell_beside("histogram", name, name, values, bins, step)

    def log_table(self, name: str, columns: Any, rows: Any = None, step: int | None = None) -> None:
        """Log rows and columns. See `tracker.log_table`."""
        self._tell_beside("table", name, name, columns, rows, step)

    def _tell_beside(self, kind: str, name: Any, *given: Any) -> None:
        try:
            from tracker.client import beside  # noqa: PLC0415  # most runs log numbers only, and start the quicker

            getattr(beside, kind)(self, *given)
        except Exception as problem:  # the outermost place, as in `log`
            said = str(problem) if type(problem).__name__ == "Unusable" else f"{type(problem).__name__}: {problem}"
            self.note(f"{kind} {encode.clean(name)}", said)

    def finish(self, exit_code: int = 0, reason: str | None = None) -> None:
        """Say that the script is done with this run, and close its file."""
        if self._is_over:
            return
        self.tell_end(exit_code, reason)
        self._is_over = True
        if self._is_mine and not self._is_new and self._env.get("TRACKER_SPOOL") == self.spool:
            del self._env["TRACKER_SPOOL"]
        self._file.close()
        self._at_end(self)

    def tell_end(self, exit_code: int, reason: str | None) -> None:
        """Say that the script is done, once. What other exit handlers and threads still log is kept in this file."""
        if self._has_ended or self._file.fd < 0:
            return
        self._has_ended = True
        self._tell_drops()
        if self._is_mine or (self.cluster and not self._is_new):
            event = {"event": "finish", "exit_code": exit_code, "reason": reason, "time": time.time()}
            self._file.append(encode.line_of(event))  # however full the folder is

    def forked(self) -> None:
        """Become the run of a forked child, which has its own file once it logs."""
        self._file.close()
        self._is_mine = False
        self._begin_counting()

    def written_bytes(self) -> int:
        """Return how much the script has written, to see later whether it wrote more; the background does not count."""
        return self._file.size_bytes() - self._background_bytes

    def _log_closely(self, metrics: Any, step: Any, now_s: float) -> None:
        lines, refused = encode.points(metrics, step, now_s)
        for line in lines:
            self._append(line)
        for key, reason in refused:
            self.note(key, reason)
        if lines:
            whole = encode.as_step(step)[0] if step is not None else None
            self._step = whole if whole is not None else self._next_step()

    def _next_step(self) -> int:
        return 0 if self._step is None else self._step + 1

    def _tell_of(self, kind: str, content: Any) -> None:
        try:
            if not isinstance(content, Mapping) and hasattr(content, "__dict__"):
                content = vars(content)  # argparse's Namespace, a dataclass
            if isinstance(content, Mapping):
                content, hidden = redact.params(encode.storable(content))
                self.tell({"event": kind, kind: content})
                for name in hidden:
                    self.note(f"{kind} {name}", "it looks like a secret and is hidden")
            else:
                self.note(kind, f"{type(content).__name__} is no dictionary")
        except Exception as problem:  # the outermost place, as in `log`
            self.note(kind, f"{type(problem).__name__}: {problem}")

    def _append(self, line: bytes) -> None:
        if worker.is_here():
            self._background_bytes += len(line)
        self._room.left_bytes -= len(line)
        if self._room.left_bytes < 0 or not self._file.append(line):
            self._append_closely(line)

    def _append_closely(self, line: bytes) -> None:
        """Append what has no room dealt, or what the file did not take: it may be gone, or the disk full."""
        if self._is_over:
            say_once(f"over {self.id}", "what is logged after finish() is not kept (said once)")
        elif self._room.is_full:
            limit = f"above the limit of {room.in_words(self._room.limit_bytes)} (TRACKER_SPOOL_LIMIT)"
            self._drop(f"were {limit}", f"{self.spool} is {limit}")
        elif self._room.left_bytes < 0 and self._file.fd >= 0 and self._file.append(line):
            self._measure()
        elif not self._renewed() or not self._file.append(line):
            self._drop("were refused by the file system", f"{self.spool} takes no more (disk full?)")

    def _measure(self) -> None:
        """Have the folder measured: at once where that is quick, else in the background, and the share is passed."""
        is_local = self._flushed_bytes < 0
        if is_local or self._room.left_bytes < -_MOST_OVER_BYTES:
            self._room.look()
        elif not self._room.is_looking:
            self._room.is_looking = True
            if not worker.later(self._room.look, "size of the spool"):
                self._room.look()

    def _drop(self, why: str, said: str) -> None:
        self._dropped[why] = self._dropped.get(why, 0) + 1
        self._untold_drops += 1
        say_once(f"drop {why}", f"{said}: points are being dropped until that changes; the run's page counts them")

    def _renewed(self) -> bool:
        """Open a new file if this process lost its own: forked, or closed by the script."""
        if self._file.fd >= 0 or time.time() < self._renew_at_s:
            return False
        try:
            self._file = new_file(self._place)
        except OSError:
            try:
                self._place, self._file = new_spool_file(places(self._env))
            except NoSpool:
                self._renew_at_s = time.time() + _LOOK_EVERY_S
                return False
            self.spool = self._place.folder
        self._names_steps = self._step is not None
        return self._write_header()

    def _look(self, now_s: float) -> None:
        """Once a second: is the file still there, is there something lost to tell of."""
        self._look_at_s = now_s + _LOOK_EVERY_S
        if self._file.size_bytes() < 0:
            self._file.close()
            self._renewed()
        if self._room.is_full and now_s >= self._full_look_at_s:
            self._full_look_at_s = now_s + _FULL_LOOK_EVERY_S
            self._measure()
        if self._untold_drops and now_s >= self._tell_drops_at_s:
            self._tell_drops()
            self._tell_drops_pause_s = min(_TELL_AT_MOST_EVERY_S, 2 * self._tell_drops_pause_s + _LOOK_EVERY_S)
            self._tell_drops_at_s = now_s + self._tell_drops_pause_s

    def _tell_drops(self) -> None:
        """Note how much was dropped in all, however full the folder is."""
        if self._untold_drops:
            reason = "; ".join(f"{count} lines {why}" for why, count in self._dropped.items())
            node = self._env.get("SLURMD_NODENAME") or os.uname().nodename
            if self._file.append(_note_line(f"dropped by rank {rank(self._env)}, {node}, {os.getpid()}", reason)):
                self._untold_drops = 0


def _note_line(key: str, reason: str) -> bytes:
    return encode.line_of({"event": "note", "key": key, "reason": reason, "time": time.time()})
