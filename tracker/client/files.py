"""Reading files that others wrote: plain ones only, and never more of them than asked for."""

from __future__ import annotations

import errno
import os
import stat


def open_plain(path: str | bytes | os.PathLike[str], *, follow: bool = True) -> int:
    """Open a plain file for reading, never waiting for it. Raises OSError when it is a pipe, a device or the like.

    With `follow=False` it may not be a link either.
    """
    # Looked at before it is opened: opening is all that some devices wait for.
    status = os.stat(path) if follow else os.lstat(path)
    if stat.S_ISREG(status.st_mode):
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY | (0 if follow else os.O_NOFOLLOW)
        fd = os.open(path, flags)
        if stat.S_ISREG(os.fstat(fd).st_mode):
            return fd
        os.close(fd)
    raise OSError(errno.EINVAL, "it is no plain file")


def read_piece(path: str | os.PathLike[str], most_bytes: int, offset: int = 0, *, follow: bool = True) -> bytes:
    """Read so much of a plain file; with a negative offset so far from its end. Raises OSError."""
    fd = open_plain(path, follow=follow)
    try:
        if offset < 0:
            offset = max(0, os.fstat(fd).st_size + offset)
        pieces = []
        while most_bytes > 0:
            piece = os.pread(fd, most_bytes, offset)
            if not piece:
                break
            pieces.append(piece)
            offset, most_bytes = offset + len(piece), most_bytes - len(piece)
        return b"".join(pieces)
    finally:
        os.close(fd)
