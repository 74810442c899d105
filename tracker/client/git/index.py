"""Git's index: which files are tracked, and how they looked when git looked last. Versions 2, 3 and 4."""

from __future__ import annotations

import struct

from tracker.client.git.objects import Unreadable, read_offset
from tracker.client.pace import Pace
from tracker.client.typed import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from typing import Iterator

_ENTRY = struct.Struct(">10I20sH")
_EXTENDED, _ASSUME_VALID, _STAGE = 0x4000, 0x8000, 0x3000
_SKIP_WORKTREE = 0x4000


class Entry(NamedTuple):
    """A tracked file. `left_alone`: git was told not to look at the file on disk."""

    path: bytes
    mode: int
    oid: bytes
    size: int  # modulo 2^32
    mtime_s: int
    mtime_ns: int  # the part below a second; 0 where git does not know it
    left_alone: bool
    unmerged: bool


class Index:
    """The content of an index file. Raises Unreadable for another format."""

    def __init__(self, raw: bytes, pace: Pace) -> None:
        self._raw, self._pace = raw, pace
        if len(raw) < 32 or raw[:4] != b"DIRC":
            raise Unreadable("git's index is broken")
        self.version, self.count = struct.unpack(">II", raw[4:12])
        if self.version not in (2, 3, 4):
            raise Unreadable(f"git's index is of version {self.version}, which is not read")
        self._end = 12

    def entries(self) -> Iterator[Entry]:
        """Yield all entries by path. Raises Unreadable, struct.error or IndexError when the file is cut off."""
        raw, at, before = self._raw, 12, b""
        for _ in range(self.count):
            fields = _ENTRY.unpack_from(raw, at)
            path_at, flags, more = at + _ENTRY.size, fields[11], 0
            if flags & _EXTENDED and self.version > 2:
                (more,) = struct.unpack_from(">H", raw, path_at)
                path_at += 2
            if self.version == 4:
                dropped, path_at = read_offset(raw, path_at)
                end = raw.find(b"\0", path_at)
                path, after = before[: len(before) - dropped] + raw[path_at:end], end + 1
            else:
                end = raw.find(b"\0", path_at)
                path, after = raw[path_at:end], at + (end - at + 8) // 8 * 8
            if end < 0:
                raise Unreadable("git's index is broken")
            left_alone = bool(flags & _ASSUME_VALID or more & _SKIP_WORKTREE)
            yield Entry(
                path, fields[6], fields[10], fields[9], fields[2], fields[3], left_alone, bool(flags & _STAGE)
            )  # fmt: skip
            before, at = path, after
            self._pace.step()
        self._end = at

    def trees(self) -> dict[bytes, bytes]:
        """Return the tree object of each folder that is staged as one, by its path; `b""` is the whole.

        To be called after all entries were read. Raises Unreadable when the list of files is kept in another file too.
        """
        raw, at, found = self._raw, self._end, {}
        while at + 8 <= len(raw) - 20:
            name, size = raw[at : at + 4], int.from_bytes(raw[at + 4 : at + 8], "big")
            if name == b"TREE":
                found = self._read_trees(raw[at + 8 : at + 8 + size])
            elif name == b"link":
                raise Unreadable("git's index is split, which is not read")
            at += 8 + size
        return found

    def _read_trees(self, raw: bytes) -> dict[bytes, bytes]:
        found: dict[bytes, bytes] = {}
        waiting = [(b"", 1)]  # folders, and how many of theirs are still to come
        at = 0
        while at < len(raw) and waiting:
            self._pace.step()
            end = raw.index(b"\0", at)
            line = raw.index(b"\n", end)
            entries, folders = map(int, raw[end + 1 : line].split(b" "))
            above, left = waiting.pop()
            path = above + raw[at:end]
            if left > 1:
                waiting.append((above, left - 1))
            at = line + 1
            if entries >= 0:
                found[path] = raw[at : at + 20]
                at += 20
            if folders > 0:
                waiting.append((path + b"/" if path else b"", folders))
        return found
