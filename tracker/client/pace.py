"""How the background thread of a training script works: little at a time, and not for ever.

Python runs one thread at a time, so whoever computes in the background holds up the training, and `log` first of all,
which lets go of Python while it writes. After each slice of 0.2 ms the thread sleeps four times as long as it worked.
"""

from __future__ import annotations

import os
import time

from tracker.client.files import open_plain
from tracker.client.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Callable

SLICE_S = 0.0002
REST = 4
HURRIED_S = 1.0
PIECE_BYTES = 1 << 14  # of a file; the C library keeps for this thread what it got for the largest


class OutOfTime(Exception):
    """What was to be found out takes longer than it is worth."""


class Pace:
    """Counts the work of one job in the background, in seconds, and makes its pauses.

    While `hurried` says so there are no pauses, and one second more is all there is.
    """

    def __init__(self, work_s: float = 5.0, hurried: Callable[[], bool] = lambda: False) -> None:
        self.left_s = work_s
        self._hurried = hurried
        self._since_s = time.perf_counter()

    def allow(self, work_s: float) -> None:
        """Allow so much work from now on, however little was left."""
        self.left_s = max(self.left_s, work_s)

    def step(self) -> None:
        """Say that a small piece of work is done; sleeps when it is time to. Raises OutOfTime."""
        worked_s = time.perf_counter() - self._since_s
        if worked_s < SLICE_S:
            return
        self.left_s -= worked_s
        if self.left_s <= 0:
            raise OutOfTime
        if self._hurried():
            self.left_s = min(self.left_s, HURRIED_S)
        else:
            time.sleep(min(worked_s * REST, 0.05))
        self._since_s = time.perf_counter()


def read_plain(path: str | bytes, most_bytes: int, pace: Pace, *, follow: bool = True) -> bytes:
    """Read a whole file that is a plain one: no pipe, no device, no endless one, and with `follow=False` no link.

    Raises OSError with the reason when it is something else or longer than `most_bytes`.
    """
    fd = open_plain(path, follow=follow)
    try:
        size_bytes = os.fstat(fd).st_size
        if size_bytes > most_bytes:
            raise OSError(f"it is longer than {most_bytes} bytes")
        pieces, room = [], most_bytes
        while room:
            # All at once, while which Python goes on: putting pieces together would hold it up.
            piece = os.read(fd, min(room, max(size_bytes, PIECE_BYTES)))
            pace.step()
            if not piece:
                break
            pieces.append(piece)
            room -= len(piece)
        return b"".join(pieces)
    finally:
        os.close(fd)
