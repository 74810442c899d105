"""How far a long command is: one line on a terminal, which goes away; nothing where nobody looks on."""

from __future__ import annotations

import sys
import time
from types import TracebackType

_EVERY_S = 0.2


class Progress:
    """A line that is drawn over. Use as a context manager: it is gone afterwards."""

    def __init__(self) -> None:
        self._shown = sys.stderr.isatty()
        self._not_before_s = 0.0

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.clear()

    def bytes(self, done: int, of: int | None) -> None:
        """So much of so much is done."""
        self.tell(f"{size_of(done)} of {size_of(of)}" if of else size_of(done))

    def count(self, what: str, done: int) -> None:
        """So many of something are done."""
        self.tell(f"{what}: {done:,}")

    def tell(self, line: str) -> None:
        """Show a line, unless one was shown a moment ago."""
        if self._shown and time.monotonic() >= self._not_before_s:
            sys.stderr.write(f"\r\x1b[K{line}")
            sys.stderr.flush()
            self._not_before_s = time.monotonic() + _EVERY_S

    def clear(self) -> None:
        """Remove the line."""
        if self._shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


def size_of(count_bytes: int) -> str:
    """Bytes for people, such as 12.5 MiB."""
    size = float(count_bytes)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"
