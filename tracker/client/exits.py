"""How this process ends: Python tells `atexit` neither the exit code nor the exception."""

from __future__ import annotations

import atexit
import sys
import threading
from types import TracebackType

from tracker.client.typed import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from typing import Any, Callable, NoReturn

KEYBOARD_INTERRUPT = 130  # as a shell reports it


class _Goodbye(NamedTuple):
    exit_code: int
    reason: str | None
    written_bytes: int | None  # by the run when this was said; None if nothing said later changes it


class _Watch:
    goodbye: _Goodbye | None = None
    watching = False


_watch = _Watch()


def watch(written_bytes: Callable[[], int]) -> None:
    """Listen for uncaught exceptions and `sys.exit`. What was installed there before goes on working.

    `written_bytes` tells how much the run has written: a script that logs after `sys.exit` has caught it and goes on.
    """
    if _watch.watching:
        return
    _watch.watching = True
    previous_hook, previous_exit = sys.excepthook, sys.exit

    def excepthook(kind: type[BaseException], problem: BaseException, trace: TracebackType | None) -> None:
        code = KEYBOARD_INTERRUPT if issubclass(kind, KeyboardInterrupt) else 1
        written = None if _is_called_by_python() else written_bytes()
        _watch.goodbye = _Goodbye(code, f"{kind.__name__}: {_text(problem)}"[:500], written)
        previous_hook(kind, problem, trace)

    def exit(status: Any = None, /) -> NoReturn:
        if threading.current_thread() is threading.main_thread():
            _watch.goodbye = _Goodbye(*_exit_status(status), written_bytes())
            # The handler that is registered last is called first, and those of the script may log.
            atexit.unregister(settle)
            atexit.register(settle)
        previous_exit(status)

    def settle() -> None:
        _watch.goodbye = _Goodbye(*outcome(written_bytes()), None)

    sys.excepthook = excepthook
    sys.exit = exit


def outcome(written_bytes: int) -> tuple[int, str | None]:
    """Return the exit code and the reason of an end that is happening now."""
    said = _watch.goodbye
    return (said.exit_code, said.reason) if said and said.written_bytes in (None, written_bytes) else (0, None)


def _is_called_by_python() -> bool:
    """Say whether the hook has no caller: the main thread is at its end, not a script that shows an exception."""
    if sys.flags.interactive or hasattr(sys, "ps1"):
        return False
    try:
        sys._getframe(2)
    except ValueError:
        return True
    return False


def _exit_status(status: Any) -> tuple[int, str | None]:
    if status is None:
        return 0, None
    if isinstance(status, int):
        return status & 0xFF, None
    return 1, _text(status)[:500]


def _text(value: Any) -> str:
    try:
        return str(value)
    except Exception:
        return type(value).__name__
