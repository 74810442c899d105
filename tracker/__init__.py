"""Every Slurm job becomes a truthful, searchable experiment run.

    import tracker

    tracker.log({"loss": 0.3}, step=10)

That is all a job needs: `log` finds the job's run by itself. Importing this package loads nothing but this file.
"""

from __future__ import annotations

TYPE_CHECKING = False  # what type checkers take for true; importing `typing` would be most of the cost of this import
if TYPE_CHECKING:
    from typing import Any

    from tracker.client.api import current_run, finish, init, log, log_params, set_tags, time_left

__version__ = "0.1.0.dev0"
__all__ = ["__version__", "current_run", "finish", "init", "log", "log_params", "set_tags", "time_left"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from tracker.client import api  # noqa: PLC0415  # servers and agents import this package too

    value = getattr(api, name, _nothing)
    if value is not _nothing:
        globals()[name] = value
    return value


def _nothing(*_arguments: Any, **_named: Any) -> None:
    """Stand in for a function while a signal handler runs in the midst of the import above."""


def __dir__() -> list[str]:
    return __all__
