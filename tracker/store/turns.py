"""Turns: on SQLite one writes at a time, and who waits longest is next, of threads and of processes alike.

SQLite by itself lets who finds it locked sleep and try again, a tenth of a second at last: beside a process that always
has something to write, another one may try for half a minute in vain. So processes queue by two files beside the
database. Who wants to write waits for the place of the next one, and leaves it when it is their turn; who has just
written comes behind whoever is there by then.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from tracker.errors import DatabaseUnavailable
from tracker.store.engine import BUSY_TIMEOUT_S

_PAUSE_S = 0.002
"""The same for all: who has waited for long must not look less often than who has just come."""


class Turns:
    """The queue of those who write to one file of SQLite's."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._one_writer = threading.Lock()

    @contextmanager
    def mine(self, within_s: float = BUSY_TIMEOUT_S) -> Iterator[None]:
        """Wait to be the one who writes. Raises DatabaseUnavailable when that takes longer than `within_s`."""
        deadline_s = time.monotonic() + within_s
        if not self._one_writer.acquire(timeout=within_s):
            raise _busy(within_s)
        try:
            with ExitStack() as turn:
                with _held(f"{self._path}-next", deadline_s, within_s):
                    turn.enter_context(_held(f"{self._path}-turn", deadline_s, within_s))
                yield
        finally:
            self._one_writer.release()


@contextmanager
def _held(path: str, deadline_s: float, within_s: float) -> Iterator[None]:
    """Hold a file's lock, which a process that dies lets go; it is asked for again and again, as no wait has an end."""
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as problem:
        raise DatabaseUnavailable(f"The database cannot be written: {path}: {problem.strerror}.") from None
    try:
        while not _locked(file):
            if time.monotonic() > deadline_s:
                raise _busy(within_s)
            time.sleep(_PAUSE_S)
        yield
    finally:
        os.close(file)


def _locked(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _busy(waited_s: float) -> DatabaseUnavailable:
    return DatabaseUnavailable(f"The database does not work now: others write for {waited_s:g} s already.")
