"""A folder that keeps copies of files by their digest: `sha256/ab/cdef…`. What is there is whole, and never changes.

A copy grows in `partial/<digest>` and is renamed when it is whole and on disk; one that was broken off goes on where
it was. Of two that copy the same file at once one copies and the other waits, by flock(2), which the disk must know.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import time
from contextlib import contextmanager, suppress

from tracker.client.artifacts import CHUNK_BYTES, Changed, File
from tracker.client.encode import Unusable
from tracker.client.spool import make_private
from tracker.client.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Iterator

_PAUSE_S = 0.1
_GIVE_UP_S = 60.0  # another process holds the copy, and it does not grow
_ZEROS = bytes(CHUNK_BYTES)
_OPEN = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
_FULL = (errno.ENOSPC, errno.EDQUOT)


class FolderStore:
    """A store in a folder. What it makes is for this user alone."""

    def __init__(self, folder: str) -> None:
        """Use this folder; it is made with the first copy."""
        self.url = os.path.realpath(folder)

    def put(self, file: File) -> str:
        """Copy a file unless it is there; return its digest. Raises Changed, and Unusable if the store is full."""
        digest = file.sha256()
        final = f"{self.url}/{place(digest)}"
        with self._explained():
            if not _is_there(final, file.size_bytes):
                with _held(self._partial(digest), final, file.size_bytes) as fd:
                    if fd is not None:
                        _fill(fd, file, digest)
                        _publish(fd, self._partial(digest), final)
        return digest

    def put_bytes(self, content: bytes) -> str:
        """Keep bytes; return their digest. Raises Unusable if the store is full."""
        digest = hashlib.sha256(content).hexdigest()
        final = f"{self.url}/{place(digest)}"
        with self._explained():
            if not _is_there(final, len(content)):
                with _held(self._partial(digest), final, len(content)) as fd:
                    if fd is not None:
                        os.ftruncate(fd, 0)
                        _write(fd, content, 0)
                        _publish(fd, self._partial(digest), final)
        return digest

    def _partial(self, digest: str) -> str:
        return f"{self.url}/partial/{digest}"

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            make_private(f"{self.url}/partial")
            yield
        except OSError as problem:
            raise Unusable(f"{self.url} takes no copy: {problem.strerror or problem}") from None


def place(digest: str) -> str:
    """Return where in a store the content of this digest lies."""
    return f"sha256/{digest[:2]}/{digest[2:]}"


def _is_there(final: str, size_bytes: int) -> bool:
    try:
        return os.stat(final).st_size == size_bytes
    except FileNotFoundError:
        return False


@contextmanager
def _held(partial: str, final: str, size_bytes: int) -> Iterator[int | None]:
    """Hold the copy that grows, alone; None when another process has made it meanwhile.

    It is removed where it could never become whole: the disk is full, or the file is another by now.
    """
    grown, since_s = -1, time.monotonic()
    while True:
        fd = os.open(partial, _OPEN, 0o600)
        try:
            if _is_locked(fd) and _is_still(fd, partial):
                if _is_there(final, size_bytes):
                    os.unlink(partial)
                    yield None
                else:
                    with _removed_in_vain(partial):
                        yield fd
                return
            size = os.fstat(fd).st_size
        finally:
            os.close(fd)
        if size != grown:
            grown, since_s = size, time.monotonic()
        elif time.monotonic() - since_s > _GIVE_UP_S:
            raise OSError(errno.EBUSY, "another process began this copy and does not go on")
        time.sleep(_PAUSE_S)


def _is_locked(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_still(fd: int, path: str) -> bool:
    # Whoever held it before may have renamed it to its final name.
    try:
        return os.path.samestat(os.fstat(fd), os.stat(path, follow_symlinks=False))
    except FileNotFoundError:
        return False


@contextmanager
def _removed_in_vain(partial: str) -> Iterator[None]:
    try:
        yield
    except (Changed, OSError) as problem:
        if isinstance(problem, Changed) or problem.errno in _FULL:
            with suppress(OSError):
                os.unlink(partial)
        raise


def _fill(fd: int, file: File, digest: str) -> None:
    """Copy what is missing. What was there is read again, for a crash of the machine may have left anything."""
    held = min(os.fstat(fd).st_size, file.size_bytes)
    for start in dict.fromkeys((held, 0)):
        os.ftruncate(fd, start)
        if _filled(fd, file, start) == digest:
            return
    raise Changed(f"{file.path} changed while it was copied")


def _filled(fd: int, file: File, start: int) -> str:
    digest = hashlib.sha256()
    for at in range(0, start, CHUNK_BYTES):
        digest.update(os.pread(fd, min(CHUNK_BYTES, start - at), at))
    at = start
    for block in file.blocks(start=start):
        digest.update(block)
        if block != _ZEROS[: len(block)]:  # holes stay holes
            _write(fd, block, at)
        at += len(block)
    os.ftruncate(fd, at)
    return digest.hexdigest()


def _write(fd: int, block: bytes, at: int) -> None:
    left = memoryview(block)
    while left:
        written = os.pwrite(fd, left, at)
        left, at = left[written:], at + written


def _publish(fd: int, partial: str, final: str) -> None:
    os.fsync(fd)
    folder = os.path.dirname(final)
    make_private(folder)
    os.rename(partial, final)
    folder_fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder_fd)
    finally:
        os.close(folder_fd)
