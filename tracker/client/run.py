"""The run that a process logs to."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping

from tracker.client import encode, preloaded, redact, worker  # noqa: F401
from tracker.client.identity import code_folders, is_captured, rank, slurm_job
from tracker.client.said import MOST_SAID, say_once
from tracker.client.spool import this_process
from tracker.client.typed import TYPE_CHECKING
from tracker.client.writer import Writer, note_line

if TYPE_CHECKING:
    from typing import Any, Callable, MutableMapping

_LEFT_FOR_POINTS_BYTES = 16 * 1024 * 1024
_LEAST_STEP, _MOST_STEP = -(2**63), 2**63 - 1
_line_of_points, _OPTION, _MAX_LINE_BYTES = encode.line_of_points, encode.OPTION, encode.MAX_LINE_BYTES
_write, _now_s = os.write, time.time


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
        self._writer = Writer(env, new=new)
        job = slurm_job(env)
        self.cluster = job.cluster if job else None
        self.job_id = job.job_id if job else None
        self.id = self._writer.run_id
        self.attempt = job.attempt if job and not new else 1
        self._is_mine = not self._writer.joined  # outside Slurm only the process that began a run may end it
        self._has_ended = False
        self._noted: set[str] = set()
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
        elif self._writer.file.fd >= 0:
            self._writer.append(line)

    @property
    def spool(self) -> str:
        """The folder this process writes into."""
        return self._writer.folder

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
            now_s = _now_s()
            writer = self._writer
            if now_s >= writer.look_at_s:
                writer.look(now_s)  # first: what is written into a file that is gone nobody reads
            if step is None and (self._names_steps or writer.is_renewed):
                step = self._next_step()
            # The usual way stands here as a whole: where a training has emptied the caches, each function more on it
            # costs some three microseconds.
            line = None
            try:
                # A pass at C speed tells that all are plain numbers: a string, a dictionary or an array makes another
                # type or raises, NaN and infinity do not survive the subtraction.
                total = sum(metrics.values())
                is_plain = (type(total) is float or type(total) is int) and total - total == 0
                is_step = step is None or (type(step) is int and _LEAST_STEP <= step <= _MOST_STEP)
                if is_plain and is_step and metrics and type(metrics) is dict:
                    message = {"metrics": metrics, "time": now_s}
                    if step is not None:
                        message["step"] = step
                    line = _line_of_points(message, None, _OPTION)
                    size_bytes, file, room = len(line), writer.file, writer.room
                    if size_bytes > _MAX_LINE_BYTES:
                        line = None
                    elif size_bytes <= room.left_bytes and not file.torn:
                        if _write(file.fd, line) == size_bytes:
                            room.left_bytes -= size_bytes
                            self._step = step if step is not None else self._next_step()
                            return
                        file.torn = True
            except Exception:  # what comes now finds out and says what it was
                pass
            if line is None:
                self._log_closely(metrics, step, now_s)
            else:
                writer.append(line)
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
        if self._writer.is_closed:
            return  # work in the background came too late
        try:
            line = encode.line_of({"time": time.time(), **event})
            if len(line) > encode.MAX_LINE_BYTES:
                self.note(str(event.get("event")), f"{len(line)} bytes are more than a line may have")
            else:
                self._writer.append(line)
        except Exception as problem:  # the outermost place, as in `log`
            self.note(str(event.get("event")), f"{type(problem).__name__}: {problem}")

    def note(self, key: str, reason: str) -> None:
        """Say once for each key, on stderr and on the run's page, what could not be kept and why."""
        try:
            key, reason = encode.clean(key)[:500], encode.clean(reason)[:500]
            if key not in self._noted and len(self._noted) < MOST_SAID:
                self._noted.add(key)
                say_once(f"note {key}", f"{key} is not logged: {reason} (said once)")
                self._writer.append(note_line(key, reason))
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
            # Most runs log numbers only, and start the quicker; and for digests OpenSSL is loaded, 4 MB.
            if kind == "artifact":
                from tracker.client import registering  # noqa: PLC0415

                registering.artifact(self, *given)
            else:
                from tracker.client import beside  # noqa: PLC0415

                getattr(beside, kind)(self, *given)
        except encode.Unusable as problem:
            self.note(f"{kind} {encode.clean(name)}", str(problem))
        except Exception as problem:  # the outermost place, as in `log`
            self.note(f"{kind} {encode.clean(name)}", f"{type(problem).__name__}: {problem}")

    def finish(self, exit_code: int = 0, reason: str | None = None) -> None:
        """Say that the script is done with this run, and close its file."""
        if self._writer.is_closed:
            return
        self.tell_end(exit_code, reason)
        if self._is_mine and not self._is_new and self._env.get("TRACKER_SPOOL") == self.spool:
            del self._env["TRACKER_SPOOL"]
        self._writer.close()
        self._at_end(self)

    def tell_end(self, exit_code: int, reason: str | None) -> None:
        """Say that the script is done, once. What other exit handlers and threads still log is kept in this file."""
        if self._has_ended or self._writer.file.fd < 0:
            return
        self._has_ended = True
        is_told = self._is_mine or (self.cluster and not self._is_new)
        event = {"event": "finish", "exit_code": exit_code, "reason": reason, "time": time.time()}
        self._writer.end(encode.line_of(event) if is_told else None)

    def forked(self) -> None:
        """Become the run of a forked child."""
        self._writer.forked()
        self._is_mine = False

    def written_bytes(self) -> int:
        """Return how much the script has written, to see later whether it wrote more."""
        return self._writer.written_bytes()

    def _log_closely(self, metrics: Any, step: Any, now_s: float) -> None:
        lines, refused = encode.points(metrics, step, now_s)
        for line in lines:
            self._writer.append(line)
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
