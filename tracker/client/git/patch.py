"""A file's section of a diff, as git writes it and `git apply` takes it."""

from __future__ import annotations

import re
import stat

from tracker.client.git.diff import unified
from tracker.client.pace import Pace
from tracker.client.typed import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from typing import Iterator


class Version(NamedTuple):
    """A file as a commit, the index or the disk has it; mode 0 where it has none."""

    mode: int
    oid: bytes


MISSING = Version(0, bytes(20))


def written(path: bytes, base: Version, disk: Version, old: bytes, new: bytes, pace: Pace) -> Iterator[bytes]:
    """Yield the lines of a file's section of a diff."""
    if base.mode and disk.mode and stat.S_IFMT(base.mode) != stat.S_IFMT(disk.mode):
        yield from written(path, base, MISSING, old, b"", pace)
        yield from written(path, MISSING, disk, b"", new, pace)
        return
    before, after = quoted(b"a/" + path), quoted(b"b/" + path)
    yield b"diff --git %s %s\n" % (before, after)
    if not base.mode:
        yield b"new file mode %06o\n" % disk.mode
    elif not disk.mode:
        yield b"deleted file mode %06o\n" % base.mode
    elif base.mode != disk.mode:
        yield b"old mode %06o\nnew mode %06o\n" % (base.mode, disk.mode)
    if base.oid != disk.oid:
        same_mode = b" %06o" % base.mode if base.mode == disk.mode else b""
        yield b"index %s..%s%s\n" % (base.oid.hex()[:12].encode(), disk.oid.hex()[:12].encode(), same_mode)
    if old != new:
        # A name with a space needs a tab behind it, or it ends at the space.
        end = b"\t\n" if b" " in path else b"\n"
        yield b"--- " + (before + end if base.mode else b"/dev/null\n")
        yield b"+++ " + (after + end if disk.mode else b"/dev/null\n")
        yield from unified(old, new, pace)


def quoted(path: bytes) -> bytes:
    """Return the path as git writes it: in quotes when it has bytes that would confuse."""
    if not re.search(rb'[\x00-\x1f"\\\x7f-\xff]', path):
        return path
    return b'"' + re.sub(rb'[\x00-\x1f"\\\x7f-\xff]', lambda one: b"\\%03o" % one[0][0], path) + b'"'
