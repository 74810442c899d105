"""Every Slurm job becomes a truthful, searchable experiment run.

    import tracker

    tracker.log({"loss": 0.3}, step=10)

That is all a job needs: `log` finds the job's run by itself. Importing this package loads nothing of it but this file.
"""

from __future__ import annotations

# Where it is installed, `log` encodes with it, and a script rather waits at its imports than at its first log.
try:  # noqa: SIM105  # contextlib is one module more to load
    import orjson  # noqa: F401
except ImportError:
    pass

TYPE_CHECKING = False  # what type checkers take for true; importing `typing` would be most of the cost of this import
if TYPE_CHECKING:
    from typing import Any

    from tracker.client.api import (
        current_run,
        finish,
        init,
        log,
        log_artifact,
        log_figure,
        log_histogram,
        log_image,
        log_params,
        log_table,
        on_signal,
        set_tags,
        time_left,
    )
    from tracker.client.reading import Api

__version__ = "0.1.0.dev0"
__all__ = [
    "Api",
    "__version__",
    "current_run",
    "finish",
    "init",
    "log",
    "log_artifact",
    "log_figure",
    "log_histogram",
    "log_image",
    "log_params",
    "log_table",
    "on_signal",
    "set_tags",
    "time_left",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # Servers and agents import this package, too; and jobs need no HTTP.
    if name == "Api":
        from tracker.client.reading import Api  # noqa: PLC0415

        return Api
    try:
        from tracker.client import api  # noqa: PLC0415
    except (
        OSError
    ) as problem:  # no descriptor is left, or the file system with our modules is away: the next call tries
        _say(f"{name}: nothing is kept: {problem}")
        return _nothing
    value = getattr(api, name, _nothing)
    if value is not _nothing:
        globals()[name] = value
    return value


def _nothing(*_arguments: Any, **_named: Any) -> None:
    """Stand in for a function while a signal handler runs in the midst of the import above."""


def _say(message: str) -> None:
    import sys  # noqa: PLC0415

    if message not in _said:
        _said.add(message)
        try:  # noqa: SIM105  # nothing can be loaded now
            sys.stderr.write(f"tracker: {message}\n")
        except Exception:  # a closed stderr must not end a training
            pass


_said: set[str] = set()


def __dir__() -> list[str]:
    return __all__
