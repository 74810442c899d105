"""A checkpoint when Slurm says that the end is near."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType

from tracker.client.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any, Callable, Sequence

    Handler = Callable[[int], Any]
    Teller = Callable[[str, str], Any]  # what failed, and why

OF_AN_END: Sequence[int] = (signal.SIGUSR1, signal.SIGTERM)


def call_on(fn: Handler, signums: Sequence[int], tell: Teller) -> None:
    """Call `fn` with the signal's number when one of these comes; what was installed before is called after it."""
    for signum in signums:
        if threading.current_thread() is not threading.main_thread():
            tell("on_signal", "Python takes signals in the main thread only: call it there")
            return
        try:
            _Hook(fn, signum, tell).install()
        except (OSError, ValueError, TypeError) as problem:
            tell("on_signal", f"{signum} cannot be caught: {problem}")


class _Hook:
    def __init__(self, fn: Handler, signum: int, tell: Teller) -> None:
        self._fn, self._signum, self._tell = fn, signum, tell
        self._pid = os.getpid()
        self._is_called = False

    def install(self) -> None:
        self._previous = signal.getsignal(self._signum)
        signal.signal(self._signum, self._handle)

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        # A forked child has this handler too, a data loader for one: its end is no reason for a checkpoint.
        if os.getpid() == self._pid:
            self._call(signum)
        elif self._previous is signal.SIG_DFL:
            signal.signal(signum, signal.SIG_DFL)
            os.kill(os.getpid(), signum)
        if callable(self._previous):
            self._previous(signum, frame)

    def _call(self, signum: int) -> None:
        if self._is_called:
            return  # Slurm repeats itself, and a checkpoint takes long
        self._is_called = True
        try:
            self._fn(signum)
        except Exception as problem:  # the outermost place: a training does not end because its checkpoint failed
            self._tell("on_signal", f"{type(problem).__name__}: {problem}")
        finally:
            self._is_called = False
