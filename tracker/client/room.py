"""How much a process may still write: all files of a spool folder together stay about below a limit."""

from __future__ import annotations

import os
import re

from tracker.client.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Mapping

DEFAULT_LIMIT_BYTES = 1024**3
_UNITS = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3, "t": 1024**4}
_SIZE = re.compile(r"\s*([0-9]{1,15})\s*([kmgt]?)i?b?\s*\Z", re.IGNORECASE)
_FIRST_SHARE_BYTES = 1024**2
_MOST_ENTRIES = 20_000


def limit_bytes(env: Mapping[str, str]) -> int:
    """Return the limit of a folder: `TRACKER_SPOOL_LIMIT`, such as `512MB`, units being powers of 1024; else 1 GiB."""
    size = size_bytes(env.get("TRACKER_SPOOL_LIMIT", ""))
    return DEFAULT_LIMIT_BYTES if size is None else size


def size_bytes(text: str) -> int | None:
    """Read a size such as `512MB`; None for what is none."""
    size = _SIZE.match(text)
    return int(size.group(1)) * _UNITS[size.group(2).lower()] if size else None


def in_words(size_bytes: int) -> str:
    """Return a size for people."""
    for unit, one in (("GiB", 1024**3), ("MiB", 1024**2), ("KiB", 1024)):
        if size_bytes >= one:
            return f"{size_bytes / one:.4g} {unit}"
    return f"{size_bytes} bytes"


class Room:
    """A share of what is left below the limit. When it is used up, `look` measures the folder and deals anew.

    Half of what is left is dealt to its writers, so the shares become small as the folder fills: a process looks a few
    dozen times in its life, and the limit is passed by no more than a small share for each writer.
    """

    def __init__(self, limit_bytes: int, folder: str) -> None:
        self.limit_bytes = limit_bytes
        self.left_bytes = min(_FIRST_SHARE_BYTES, limit_bytes // 16)  # the caller counts down
        self.is_full = False
        self.is_looking = False  # a look has been asked for
        self._folder = folder

    def look(self) -> None:
        """Measure the folder: deal the next share, or find that it is full."""
        used_bytes, writers = used(self._folder)
        smallest = min(64 * 1024, self.limit_bytes // 64)
        share = max(smallest, (self.limit_bytes - used_bytes) // (2 * max(1, writers)))
        self.is_full = used_bytes + smallest > self.limit_bytes
        self.left_bytes = 0 if self.is_full else share
        self.is_looking = False


def used(folder: str) -> tuple[int, int]:
    """Return the bytes of a folder's files, and how many there are. What cannot be read counts nothing."""
    used_bytes = files = 0
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                used_bytes += entry.stat(follow_symlinks=False).st_size
                files += 1
                if files >= _MOST_ENTRIES:
                    break
    except OSError:
        pass
    return used_bytes, files
