"""The wish of a signal to stop, which a waiting process notices at once."""

from __future__ import annotations

import os
import select
from typing import Any


class Stop:
    """Asked for by a signal's handler, noticed by `wait`.

    A pipe, because a handler runs in the middle of anything: an exception that it raises may be swallowed there, and a
    lock that it takes may be held there.
    """

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        self.is_asked = False

    def ask(self, *_: Any) -> None:
        """Ask to stop; may be the handler of a signal."""
        self.is_asked = True
        os.write(self._write, b".")

    def wait(self, seconds: float) -> bool:
        """Wait that long or until it is asked for; whether it was asked for."""
        select.select([self._read], [], [], seconds)
        return self.is_asked
