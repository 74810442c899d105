"""Reads a spool without trusting it: users own the job folders, and root reads them.

Everything is opened relative to a descriptor of its folder, never through a symbolic link, and is looked at before and
after it is opened.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time
from contextlib import contextmanager, suppress
from itertools import islice
from typing import Iterator, NamedTuple

from tracker.errors import SetupProblem
from tracker.events import MAX_LINE_BYTES, WRITER_NAME, JobFolder

QUIET_S = 5.0
MOST_ENTRIES = 20_000  # of one folder that are looked at; a user could make millions
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_ENDING = ".jsonl"
_TOLD = "told.json"
_TOKEN = "token"
_CHUNK_BYTES = 256 * 1024


class SpoolFolder(NamedTuple):
    """A job's folder, its owner, the size in bytes of each writer's file, and whether that is all there is.

    `written_s` is when something was written last, by the clock of the file system.
    """

    name: str
    uid: int
    sizes: dict[str, int]
    is_whole: bool
    written_s: float


def is_quiet(folder: SpoolFolder) -> bool:
    """Say whether nothing was written for a while.

    Somebody who still writes would go on into a file that has no name any more: a script outside Slurm may leave
    processes behind that log. Who writes seldom looks first whether the file is there. A time to come is that of a
    clock which was put back.
    """
    return abs(time.time() - folder.written_s) >= QUIET_S


class JobSpools:
    """The folder `jobs` of a spool."""

    def __init__(self, root: str) -> None:
        self._path = os.path.join(root, "jobs")
        self._lock: int | None = None

    def is_mine_alone(self) -> bool:
        """Say whether no other agent ships this spool; from then on another one gets a no, as long as we live.

        Nobody is kept out by it. Where a file system cannot tell, as NFS for folders, the answer is yes.
        """
        with self._opened() as jobs:
            if jobs is None or self._lock is not None:
                return True
            self._lock = os.open(".", _FOLDER, dir_fd=jobs)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as problem:
            return problem.errno != errno.EWOULDBLOCK
        return True

    def names(self) -> list[str]:
        """Return the names of the job folders, in no order. Raises SetupProblem when the spool cannot be trusted."""
        with self._opened() as jobs:
            if jobs is None:
                return []
            with os.scandir(jobs) as entries:
                return [entry.name for entry in entries if JobFolder.parse(entry.name)]

    def look(self, name: str) -> SpoolFolder | None:
        """Return what is in a job's folder, without what cannot be trusted; None when it is gone or is no folder."""
        with self._opened() as jobs, _folder(name, jobs) as folder:
            if folder is None:
                return None
            uid = os.fstat(folder).st_uid
            if os.geteuid() not in (0, uid):
                return None
            try:
                return _seen(name, folder, uid)
            except OSError:  # a file system that fails, as NFS may: what is in there is not known now
                return SpoolFolder(name, uid, {}, False, 0.0)

    def read_lines(self, name: str, writer: str, offset: int) -> bytes | None:
        """Return whole lines from byte `offset`, about 256 KiB of them; nothing when there is no whole line.

        A line longer than MAX_LINE_BYTES comes in pieces without a newline, each of that length. None when the file
        cannot be read now, which says nothing about what is in it.
        """
        with self._opened() as jobs, _folder(name, jobs) as folder, _file(folder, writer + _ENDING) as file:
            if file is None:
                return None
            try:
                return _whole_lines(file, offset)
            except OSError:
                return None

    def read_ends(self, name: str, writer: str, length: int) -> tuple[bytes, bytes]:
        """Return the first and the last `length` bytes of a writer's file; nothing when it cannot be read."""
        with self._opened() as jobs, _folder(name, jobs) as folder, _file(folder, writer + _ENDING) as file:
            if file is None:
                return b"", b""
            try:
                size = os.fstat(file).st_size
                return os.pread(file, length, 0), os.pread(file, length, max(0, size - length))
            except OSError:
                return b"", b""

    def tell(self, seen: SpoolFolder, content: bytes) -> None:
        """Put what the server tells a job into its folder, as `told.json`; quietly not where that is impossible."""
        self._put(seen, _TOLD, content, 0o644)

    def give_token(self, seen: SpoolFolder, token: str) -> bool:
        """Put the job's own token into its folder, which its user alone may read. False where that is impossible."""
        return self._put(seen, _TOKEN, token.encode("ascii", "replace") + b"\n", 0o400, seen.uid)

    def _put(self, seen: SpoolFolder, name: str, content: bytes, mode: int, owner: int = -1) -> bool:
        """Write a file into a folder, whole or not at all.

        The user may move or replace what is in there at any time: nothing is followed, nothing of theirs is opened.
        """
        draft = f".{name}.new"
        with self._opened() as jobs, _folder(seen.name, jobs) as folder:
            if folder is None or os.fstat(folder).st_uid != seen.uid:
                return False
            with suppress(OSError):
                os.unlink(draft, dir_fd=folder)  # left by an agent that was killed
            with suppress(OSError):
                file = os.open(draft, _NEW_FILE, 0o600, dir_fd=folder)
                try:
                    os.write(file, content)
                    os.fchmod(file, mode)
                    os.fchown(file, owner, -1)
                finally:
                    os.close(file)
                os.rename(draft, name, src_dir_fd=folder, dst_dir_fd=folder)
                return True
        return False

    def remove(self, seen: SpoolFolder) -> bool:
        """Remove a job's folder if nothing was written since it was seen. True when it is gone."""
        with self._opened() as jobs:
            if jobs is None:
                return True
            with _folder(seen.name, jobs) as folder:
                if folder is None:
                    return True
                if not seen.is_whole or _seen(seen.name, folder, seen.uid) != seen or _has_grown(folder, seen):
                    return False
                try:
                    for entry in _entries(folder)[0]:
                        os.unlink(entry.name, dir_fd=folder)  # a symbolic link goes, not what it points to
                    os.rmdir(seen.name, dir_fd=jobs)
                except OSError:
                    return False  # a user made a folder in there: it stays, and harms nobody
                return True

    @contextmanager
    def _opened(self) -> Iterator[int | None]:
        try:
            jobs = os.open(self._path, _FOLDER)
        except FileNotFoundError:
            yield None
            return
        except OSError as problem:
            raise SetupProblem(f"The spool {self._path} cannot be read: {problem.strerror}.") from problem
        try:
            status = os.fstat(jobs)
            # The owner of a folder tells whose job it is, so nobody else may move folders in here. A user's agent takes
            # the user's own folders only, whoever may write here.
            if os.geteuid() == 0 and (status.st_uid != 0 or status.st_mode & 0o022):
                way_out = f"chown 0 {self._path} && chmod go-w {self._path}"
                raise SetupProblem(f"{self._path} could be changed by others, which an agent cannot trust: {way_out}")
            yield jobs
        finally:
            os.close(jobs)


def _whole_lines(file: int, offset: int) -> bytes:
    raw = os.pread(file, _CHUNK_BYTES, offset)
    if b"\n" not in raw and len(raw) == _CHUNK_BYTES:
        if os.lseek(file, offset, os.SEEK_HOLE) < offset + _CHUNK_BYTES:
            return b""  # who appends lines makes no hole, and one may be of terabytes
        raw = os.pread(file, MAX_LINE_BYTES, offset)
    if b"\n" not in raw and len(raw) == MAX_LINE_BYTES:
        return raw
    return raw[: raw.rfind(b"\n") + 1]


def _seen(name: str, folder: int, uid: int) -> SpoolFolder:
    entries, is_whole = _entries(folder)
    files = dict(_trusted(entries, uid))
    written_s = max([os.fstat(folder).st_mtime, *(status.st_mtime for status in files.values())])
    return SpoolFolder(name, uid, {writer: status.st_size for writer, status in files.items()}, is_whole, written_s)


def _trusted(entries: list[os.DirEntry[str]], uid: int) -> Iterator[tuple[str, os.stat_result]]:
    for entry in entries:
        writer = entry.name[: -len(_ENDING)]
        if not entry.name.endswith(_ENDING) or not WRITER_NAME.match(writer):
            continue
        try:
            status = entry.stat(follow_symlinks=False)
        except FileNotFoundError:
            continue
        if _is_plain(status, uid):
            yield writer, status


def _has_grown(folder: int, seen: SpoolFolder) -> bool:
    """Say whether a file is longer than it seemed: NFS tells what another node wrote to those who open the file."""
    for writer, size in seen.sizes.items():
        with _file(folder, writer + _ENDING) as file:
            if file is None or os.fstat(file).st_size != size:
                return True
    return False


def _is_plain(status: os.stat_result, uid: int) -> bool:
    # A second name of a file would let a user show us somebody else's.
    return stat.S_ISREG(status.st_mode) and status.st_uid == uid and status.st_nlink == 1


def _entries(folder: int) -> tuple[list[os.DirEntry[str]], bool]:
    """The entries of a folder, and whether these are all."""
    with os.scandir(folder) as entries:
        found = list(islice(entries, MOST_ENTRIES))
        return found, next(entries, None) is None


@contextmanager
def _folder(name: str, parent: int | None) -> Iterator[int | None]:
    try:
        folder = None if parent is None else os.open(name, _FOLDER, dir_fd=parent)
    except OSError:
        folder = None
    try:
        yield folder
    finally:
        if folder is not None:
            os.close(folder)


@contextmanager
def _file(folder: int | None, name: str) -> Iterator[int | None]:
    file = None if folder is None else _open_plain(folder, name)
    try:
        yield file
    finally:
        if file is not None:
            os.close(file)


def _open_plain(folder: int, name: str) -> int | None:
    """Open a file that belongs to its folder's owner and is plain; None for any other and where it is impossible."""
    file = None
    try:
        uid = os.fstat(folder).st_uid
        # Opening a device can do something, so look before.
        if _is_plain(os.stat(name, dir_fd=folder, follow_symlinks=False), uid):
            file = os.open(name, _FILE, dir_fd=folder)
            if _is_plain(os.fstat(file), uid):
                return file
    except OSError:
        pass
    if file is not None:
        os.close(file)
    return None
