"""Reads the ends of jobs' output files with the rights of the job's user, in a child process that may hang or die."""

from __future__ import annotations

import json
import os
import pwd
import random
import select
import signal
import stat
import time
import zlib
from typing import Iterable, NamedTuple

MOST_BYTES = 256 * 1024  # of one file at a time
MOST_BYTES_A_READ = 2 * 1024 * 1024  # of all files
MOST_BEHIND_BYTES = 1024 * 1024  # unless the server says how much it keeps
_MOST_KEPT_BYTES = 64 * 1024 * 1024
_HEAD_BYTES = 512
_MOST_CHILDREN = 16
_LEFT_ALONE_S = 60.0
_PATIENCE_S = 2.0  # a file system that hangs must not hold up the points of all jobs
_FILE = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY


class Wanted(NamedTuple):
    """An output file that the server follows: from byte `offset`, to be read with the rights of `uid`.

    It keeps the last `keep` bytes; `file` is the file that it has read so far, as a Piece said.
    """

    folder: str
    stream: str
    path: str
    uid: int
    offset: int
    keep: int = MOST_BEHIND_BYTES
    file: str | None = None


class Piece(NamedTuple):
    """Bytes of an output file from `offset`, or an `error` instead.

    `eof`: the file ended after them. `anew`: it is not the file any more that was read so far; `file` says which it is.
    """

    wanted: Wanted
    offset: int
    content: bytes = b""
    eof: bool = False
    error: str | None = None
    anew: bool = False
    file: str | None = None


class _Child(NamedTuple):
    """A process that reads the files of one user, and the pipe it writes into."""

    pid: int
    uid: int
    pipe: int
    files: list[Wanted]
    chunks: list[bytes]


class OutputReader:
    """Reads output files; remembers whose file system hangs."""

    def __init__(self) -> None:
        self._hanging_until_s: dict[int, float] = {}
        self._abandoned: set[int] = set()

    def read(self, wanted: list[Wanted]) -> list[Piece]:
        """Return a piece for each file, in no order, as far as 2 MiB and 16 users go.

        Of each file at most 256 KiB are read. Who is more than `keep` behind goes on from there.
        """
        by_uid: dict[int, list[Wanted]] = {}
        for one in random.sample(list(wanted), len(wanted)):  # the same files must not always take the room
            by_uid.setdefault(one.uid, []).append(one)
        self._bury()
        pieces: list[Piece] = []
        readable: dict[int, list[Wanted]] = {}
        for uid, files in by_uid.items():
            refusal = _refusal(uid) or self._hangs(uid)
            if refusal:
                pieces += [Piece(one, one.offset, error=refusal) for one in files]
            elif len(readable) < _MOST_CHILDREN:
                readable[uid] = files
        children = [_start(uid, files, MOST_BYTES_A_READ // len(readable)) for uid, files in readable.items()]
        for child in _await(children):
            self._abandon(child)
            pieces += [Piece(one, one.offset, error=self._hangs(child.uid)) for one in child.files]
        for child in children:
            pieces += _unpack(b"".join(child.chunks), child.files) if child.pid not in self._abandoned else []
        return pieces

    def _hangs(self, uid: int) -> str | None:
        hangs = time.monotonic() < self._hanging_until_s.get(uid, 0)
        return f"its file system did not answer within {_PATIENCE_S:g} s" if hangs else None

    def _abandon(self, child: _Child) -> None:
        os.kill(child.pid, signal.SIGKILL)
        self._abandoned.add(child.pid)  # in an uninterruptible sleep it does not even die
        self._hanging_until_s[child.uid] = time.monotonic() + _LEFT_ALONE_S

    def _bury(self) -> None:
        for child in list(self._abandoned):
            if os.waitpid(child, os.WNOHANG)[0]:
                self._abandoned.discard(child)


def _start(uid: int, files: list[Wanted], room: int) -> _Child:
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        _child(reading, writing, uid, files, room)
    os.close(writing)
    return _Child(pid, uid, reading, files, [])


def _await(children: list[_Child]) -> list[_Child]:
    """Take what the children write until they have ended; return those that did not in time."""
    until_s = time.monotonic() + _PATIENCE_S
    writing = {child.pipe: child for child in children}
    while writing:
        ready, _, _ = select.select(list(writing), [], [], max(0.0, until_s - time.monotonic()))
        if not ready:
            break
        for pipe in ready:
            chunk = os.read(pipe, 1024 * 1024)
            writing[pipe].chunks.append(chunk)
            if not chunk:
                os.waitpid(writing.pop(pipe).pid, 0)
                os.close(pipe)
    for pipe in writing:
        os.close(pipe)
    return list(writing.values())


def _refusal(uid: int) -> str | None:
    """Say why nothing is read as this user; None if it may."""
    if os.geteuid() != 0:
        return None if uid == os.geteuid() else "the agent of another user cannot read it"
    if uid == 0:
        return "output of root's jobs is not read"
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return f"this node does not know the user {uid}"
    return None


def _child(reading: int, writing: int, uid: int, files: list[Wanted], room: int) -> None:
    """Give up root's rights, read, write what was read into the pipe. Never returns."""
    try:
        os.close(reading)
        if os.geteuid() == 0:
            user = pwd.getpwuid(uid)
            os.initgroups(user.pw_name, user.pw_gid)
            os.setresgid(user.pw_gid, user.pw_gid, user.pw_gid)
            os.setresuid(uid, uid, uid)
        with os.fdopen(writing, "wb") as pipe:
            for one in files:
                if room <= 0:
                    break
                piece = _piece(one, min(room, MOST_BYTES))
                room -= len(piece.content)
                head = {**piece._asdict(), "wanted": None, "content": len(piece.content)}
                pipe.write(json.dumps(head).encode() + b"\n" + piece.content)
    finally:
        os._exit(0)  # nothing of the parent's may run here


def _piece(one: Wanted, room: int) -> Piece:
    try:
        file = os.open(one.path, _FILE)
        try:
            status = os.fstat(file)
            if stat.S_ISCHR(status.st_mode):
                return Piece(one, one.offset, error="it is a device, which keeps nothing")
            if not stat.S_ISREG(status.st_mode):
                return Piece(one, one.offset, error="it is no ordinary file")
            return _newest(one, file, status, room)
        finally:
            os.close(file)
    except (OSError, ValueError) as problem:
        return Piece(one, one.offset, error=getattr(problem, "strerror", None) or str(problem))


def _newest(one: Wanted, file: int, status: os.stat_result, room: int) -> Piece:
    """Read on from where the server is, but from no further back than it keeps."""
    anew = one.offset > 0 and (one.offset > status.st_size or not _is_same(one.file, file, status.st_ino))
    offset = max(0 if anew else one.offset, status.st_size - min(max(one.keep, MOST_BYTES), _MOST_KEPT_BYTES))
    content = os.pread(file, room, offset)
    end = offset + len(content)
    return Piece(one, offset, content, end >= status.st_size, None, anew, _identity(file, status.st_ino, end))


def _identity(file: int, inode: int, size: int) -> str:
    """Name a file that was read up to `size`: a file written anew may have the same inode and be longer, too."""
    length = min(size, _HEAD_BYTES)
    return f"{inode}.{length}.{zlib.crc32(os.pread(file, length, 0)):08x}"


def _is_same(known: str | None, file: int, inode: int) -> bool:
    length = (known or "").split(".")[1:2]
    return not length or not length[0].isdecimal() or _identity(file, inode, int(length[0])) == known


def _unpack(raw: bytes, files: list[Wanted]) -> Iterable[Piece]:
    for one in files:
        line, mark, raw = raw.partition(b"\n")
        if not mark:
            return  # there was no room for more, or the child died
        head = json.loads(line)
        content, raw = raw[: head["content"]], raw[head["content"] :]
        yield Piece(**{**head, "wanted": one, "content": content})
