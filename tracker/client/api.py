"""The public functions: `tracker.log` and its companions. None of them raises, blocks or needs a network."""

from __future__ import annotations

import atexit
import os
import threading
import time

from tracker.client import exits, worker
from tracker.client.identity import slurm_job, whole_number
from tracker.client.no_run import NoRun
from tracker.client.run import Run
from tracker.client.said import say_once
from tracker.client.spool import places
from tracker.client.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any, Mapping

    from tracker.client.signals import Handler

_lock = threading.RLock()  # a signal handler may log while the main thread is attaching
_current: Run | NoRun | None = None
_beside: list[Run] = []  # of `init(new=True)`, not finished


def init(
    experiment: str | None = None,
    name: str | None = None,
    params: Mapping[str, Any] | None = None,
    tags: Mapping[str, Any] | None = None,
    *,
    new: bool = False,
) -> Run | NoRun:
    """Attach this process to its run and describe it; what is not given stays as it is.

    Optional: `log` attaches by itself. With `new` it is a run beside that of the process or job, for a sweep in one
    script for example: it is logged to by the methods of what is returned, and ends with its `finish()`, with the
    process or with the job. It changes nothing for `tracker.log` and the other functions.
    """
    run = _attach(new=True) if new else _attached()
    run.describe(experiment, name)
    if params:
        run.log_params(params)
    if tags:
        run.set_tags(tags)
    return run


def log(metrics: Mapping[str, Any], step: int | None = None) -> None:
    """Log numbers, each under its name; nested dictionaries become `a/b`. Without `step` the steps count on.

    Returns when the kernel has the line: it survives the process. What is no number is named once on stderr and on the
    run's page.
    """
    (_current or _attached()).log(metrics, step)


def log_params(params: Mapping[str, Any]) -> None:
    """Log what the run was started with; nested dictionaries become `a/b`."""
    _attached().log_params(params)


def set_tags(tags: Mapping[str, Any]) -> None:
    """Tag the run, text to text. A tag that is set again changes."""
    _attached().set_tags(tags)


def log_artifact(path: Any, name: str | None = None, copy: bool = False, step: int | None = None) -> None:
    """Register a file or a folder of the run where it lies, with its size, time and sha256; nothing is copied.

    With `copy` its content is also kept in `$TRACKER_ARTIFACTS` (a folder or `s3://bucket/prefix`) when this returns:
    each content once, whole or not at all; a copy that was broken off goes on where it was (docs/artifacts.md).
    """
    _attached().log_artifact(path, name, copy, step)


def log_image(name: str, image: Any, step: int | None = None) -> None:
    """Log a picture: the path or the bytes of a PNG, JPEG, WebP or GIF, a Pillow image, or an array.

    An array (numpy, torch) is height x width, alone or with 1, 3 or 4 channels last or first: integers from 0 to 255 or
    floats from 0 to 1. Without `step` it belongs to the step logged last.
    """
    _attached().log_image(name, image, step)


def log_figure(name: str, figure: Any, step: int | None = None) -> None:
    """Log a matplotlib figure as it looks now."""
    _attached().log_figure(name, figure, step)


def log_histogram(name: str, values: Any, step: int | None = None, bins: int = 64) -> None:
    """Log how numbers (a list, an array, a tensor) are spread over equal bins; NaN and infinities are counted apart."""
    _attached().log_histogram(name, values, step, bins)


def log_table(name: str, columns: Any, rows: Any = None, step: int | None = None) -> None:
    """Log a table: columns and rows, or instead a list of dictionaries, a dictionary of columns, or a data frame."""
    _attached().log_table(name, columns, rows, step)


def finish(exit_code: int = 0, reason: str | None = None) -> None:
    """Say that the script is done with its run. Optional: the end of the process says so too."""
    global _current
    _note_undone(worker.drain())
    with _lock:
        run, _current = _current, None
        if run is not None:
            run.finish(exit_code, reason)


def current_run() -> Run | NoRun:
    """Return the run of this process: `cluster`, `job_id`, `id` (of no job), `attempt`, `spool` and `last_step`."""
    return _attached()


def time_left() -> float | None:
    """Return the seconds until Slurm's time limit ends this job; None outside Slurm and where nobody knows.

    The server's word counts, which the agent keeps fresh: limits change. Without it the limit at the job's start is
    taken, which Slurm tells since 24.11.
    """
    ends_at = _told_end()
    if ends_at is None:
        ends_at = whole_number(os.environ.get("SLURM_JOB_END_TIME"))
    return None if ends_at is None else max(0.0, ends_at - time.time())


def _told_end() -> float | None:
    job = slurm_job(os.environ)
    if job is None:
        return None
    try:
        from tracker.client import past  # noqa: PLC0415  # `json` takes 2 ms to load, and few need it
    except OSError:  # no descriptor is left to load it with
        return None
    for place in places(os.environ):
        ends_at = past.told_number(place.folder, job.attempt, "ends_at")
        if ends_at is not None:
            return ends_at
    return None


def on_signal(fn: Handler, signum: int | None = None) -> Handler:
    """Call `fn(signum)` when Slurm says that the end is near, and return it: it may be used as a decorator.

    Without `signum` these are SIGUSR1, for `#SBATCH --signal=USR1@90`, and SIGTERM, which comes before a preemption and
    at the limit. What was installed for them before is called afterwards; their usual effect, the end of the process,
    does not happen. It must be called in the main thread; else it says so and does nothing. What `fn` raises becomes a
    note of the run.
    """
    try:
        from tracker.client import signals  # noqa: PLC0415  # `signal` takes 2 ms to load, and few need it

        signals.call_on(fn, signals.OF_AN_END if signum is None else [signum], _attached_note)
    except OSError as problem:  # no descriptor is left to load it with
        _attached_note("on_signal", str(problem))
    return fn


def _attached_note(key: str, reason: str) -> None:
    _attached().note(key, reason)


def _attached() -> Run | NoRun:
    global _current
    if _current is not None:
        return _current
    with _lock:
        if _current is None:
            _current = _attach()
        return _current


def _attach(*, new: bool = False) -> Run | NoRun:
    if os.environ.get("TRACKER_MODE") == "off":
        return NoRun()
    try:
        run = Run(os.environ, new=new, at_end=_forget)
    except Exception as problem:
        say_once("attach", f"nothing is logged: {problem}")
        return NoRun()
    if new:
        _beside.append(run)
    exits.watch(_written_bytes)
    return run


def _forget(run: Run) -> None:
    global _current
    if run is _current:
        _current = None
    if run in _beside:
        _beside.remove(run)


def _open_runs() -> list[Run]:
    return [*_beside, *([_current] if isinstance(_current, Run) else [])]


def _written_bytes() -> int:
    return sum(run.written_bytes() for run in _open_runs())


def _note_undone(is_done: bool) -> None:
    if not is_done:
        _note("background work", f"what was not done within {worker.EXIT_MOST_S:g} s was left undone at the end")


def _note(key: str, reason: str) -> None:
    if _current is not None:
        _current.note(key, reason)


def _finish_at_exit() -> None:
    _note_undone(worker.end())
    exit_code, reason = exits.outcome(_written_bytes())
    for run in _open_runs():
        run.tell_end(exit_code, reason)


def _forget_in_child() -> None:
    # The files are the parent's: a forked child writes into some of its own, made when it logs.
    global _lock
    _lock = threading.RLock()
    for run in _open_runs():
        run.forked()


worker.report = _note
atexit.register(_finish_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_in_child)
