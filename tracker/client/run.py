"""The run that a process logs to, and its stand-in where nothing can be logged."""

from __future__ import annotations

import bisect  # noqa: F401
import os
import struct  # noqa: F401
import sys
import time
import zlib  # noqa: F401
from contextlib import suppress
from typing import Any, Mapping, MutableMapping

from tracker.client import encode, worker
from tracker.client.identity import code_folders, is_captured, slurm_job, writer_header
from tracker.client.spool import NoSpool, new_file, new_spool_file

# What the background needs of the standard library is loaded here, in front: a child that is forked while a thread
# loads a module waits for that module for ever.

_LOOK_EVERY_S = 1.0
_MOST_WARNINGS = 1000
_LEFT_FOR_POINTS_BYTES = 16 * 1024 * 1024
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
    step: int | None = None

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

    def finish(self, exit_code: int, reason: str | None) -> None:
        """Keep nothing."""


class Run:
    """The run of this process.

    `cluster` and `job_id` name its Slurm job, `id` a run outside Slurm (32 hexadecimal digits). `attempt` counts from
    1, `spool` is the folder this process writes into, `step` the step logged last.
    """

    def __init__(self, env: MutableMapping[str, str]) -> None:
        """Find the run and open a file in its spool. Raises NoSpool when no folder can be written."""
        self._env = env
        place, self._file = new_spool_file(env)
        job = slurm_job(env)
        self.cluster = job.cluster if job else None
        self.job_id = job.job_id if job else None
        self.id = place.run_id
        self.attempt = job.restart_count + 1 if job else 1
        self.spool = place.folder
        self.step: int | None = None
        self._is_finished = False
        self._is_mine = not place.joined  # outside Slurm only the process that began a run may end it
        self._dropped_lines = 0
        self._background_bytes = 0
        self._look_at_s = 0.0
        self._renew_at_s = 0.0
        self._begin()

    def _begin(self) -> None:
        self._write(writer_header(self._env, time.time(), self.id))
        if self._is_mine:
            self._env["TRACKER_SPOOL"] = self.spool  # so that the processes started from here join this run
        if self._env.get("TRACKER_EXPERIMENT"):
            self.describe(self._env["TRACKER_EXPERIMENT"], None)
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
            line = encode.quick_points(metrics, step, now_s)
            if line is None:
                self._log_closely(metrics, step, now_s)
            else:
                if not self._file.append(line):
                    self._append_again(line)
                self.step = step if step is not None else self._next_step()
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
        if self._is_finished:
            return  # work in the background came too late
        try:
            self._write({"time": time.time(), **event})
        except Exception as problem:  # the outermost place, as in `log`
            self.note(str(event.get("event")), f"{type(problem).__name__}: {problem}")

    def note(self, key: str, reason: str) -> None:
        """Say once for each key, on stderr and on the run's page, what could not be kept and why."""
        try:
            key, reason = encode.clean(key)[:500], encode.clean(reason)[:500]
            if say_once(f"note {key}", f"{key} is not logged: {reason} (said once)"):
                self._append(encode.line_of({"event": "note", "key": key, "reason": reason, "time": time.time()}))
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

    def finish(self, exit_code: int, reason: str | None) -> None:
        """Say that the script is done, and close the file."""
        if self._file.fd < 0:
            return
        if self._is_mine or self.cluster:
            self.tell({"event": "finish", "exit_code": exit_code, "reason": reason})
        if self._is_mine and self._env.get("TRACKER_SPOOL") == self.spool:
            del self._env["TRACKER_SPOOL"]
        self._is_finished = True
        self._file.close()

    def forked(self) -> None:
        """Become the run of a forked child, which has its own file once it logs."""
        self._file.close()
        self._is_mine = False
        self._dropped_lines = 0

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
            self.step = whole if whole is not None else self._next_step()

    def _next_step(self) -> int:
        return 0 if self.step is None else self.step + 1

    def _tell_of(self, kind: str, content: Any) -> None:
        try:
            if not isinstance(content, Mapping) and hasattr(content, "__dict__"):
                content = vars(content)  # argparse's Namespace, a dataclass
            if isinstance(content, Mapping):
                self.tell({"event": kind, kind: content})
            else:
                self.note(kind, f"{type(content).__name__} is no dictionary")
        except Exception as problem:  # the outermost place, as in `log`
            self.note(kind, f"{type(problem).__name__}: {problem}")

    def _write(self, message: Mapping[str, Any]) -> None:
        line = encode.line_of(message)
        if len(line) > encode.MAX_LINE_BYTES:
            self.note(message["event"], f"{len(line)} bytes are more than a line may have")
        else:
            self._append(line)

    def _append(self, line: bytes) -> None:
        if worker.is_here():
            self._background_bytes += len(line)
        if not self._file.append(line):
            self._append_again(line)

    def _append_again(self, line: bytes) -> None:
        """Write into a new file if this process lost its own (forked, closed by the script); else the disk is full."""
        if self._file.fd < 0 and time.time() >= self._renew_at_s and self._renew() and self._file.append(line):
            return
        self._dropped_lines += 1
        say_once("spool", f"{self.spool} takes no more, points are being dropped until it does (disk full?)")

    def _renew(self) -> bool:
        try:
            self._file = new_file(self.spool)
        except OSError:
            try:
                place, self._file = new_spool_file(self._env)
            except NoSpool:
                self._renew_at_s = time.time() + _LOOK_EVERY_S
                return False
            self.spool = place.folder
        header = writer_header(self._env, time.time(), self.id)
        return self._file.append(encode.line_of(header))

    def _look(self, now_s: float) -> None:
        """Once a second: is the file still there, and is there something lost to tell of."""
        self._look_at_s = now_s + _LOOK_EVERY_S
        if self._file.size_bytes() < 0:
            self._file.close()
            self._renew()
        if self._dropped_lines:
            reason = f"{self._dropped_lines} lines were refused by the file system"
            note = {"event": "note", "key": "dropped points", "reason": reason, "time": now_s}
            if self._file.append(encode.line_of(note)):
                self._dropped_lines = 0
