"""Reads the ends of jobs' output files with the rights of the jobs' users, in a child process that may hang or die."""

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
from typing import Iterable, Iterator, NamedTuple

MOST_BYTES = 256 * 1024  # of one file at a time
MOST_BYTES_A_READ = 2 * 1024 * 1024  # of all files
MOST_BEHIND_BYTES = 1024 * 1024  # unless the server says how much it keeps
_MOST_KEPT_BYTES = 64 * 1024 * 1024
_HEAD_BYTES = 512
_MOST_CHILDREN = 3  # at a time: each may hang
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


class _Child:
    """A process that reads files one after the other, and what came of them through its pipe."""

    def __init__(self, files: list[Wanted], room: int) -> None:
        self.files = files
        reading, writing = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            _read_all(reading, writing, files, room)
        os.close(writing)
        self._pipe = reading
        self._raw = b""

    def pieces(self, within_s: float) -> list[Piece]:
        """Return the pieces that came in time; fewer than there are files when it hangs, died or had no room."""
        until_s = time.monotonic() + within_s
        try:
            while select.select([self._pipe], [], [], max(0.0, until_s - time.monotonic()))[0]:
                chunk = os.read(self._pipe, 1024 * 1024)
                self._raw += chunk
                if not chunk:
                    os.waitpid(self.pid, 0)
                    self.pid = 0
                    break
        finally:
            os.close(self._pipe)
        return list(_unpack(self._raw, self.files))


class OutputReader:
    """Reads output files; remembers whose file system hangs."""

    def __init__(self) -> None:
        self._hanging_until_s: dict[int, float] = {}
        self._abandoned: set[int] = set()

    def read(self, wanted: Iterable[Wanted]) -> list[Piece]:
        """Return a piece for each file, in no order, as far as 2 MiB and some seconds go.

        Of each file at most 256 KiB are read. Who is more than `keep` behind goes on from there.
        """
        self._bury()
        by_uid: dict[int, list[Wanted]] = {}
        pieces: list[Piece] = []
        for one in wanted:
            by_uid.setdefault(one.uid, []).append(one)
        for uid in list(by_uid):
            refusal = _refusal(uid) or self._hangs(uid)
            if refusal:
                pieces += [Piece(one, one.offset, error=refusal) for one in by_uid.pop(uid)]
        for _ in range(_MOST_CHILDREN):
            if not by_uid:
                break
            pieces += self._read(by_uid)
        return pieces

    def _read(self, by_uid: dict[int, list[Wanted]]) -> Iterator[Piece]:
        """Read the files of all users in a child; leave those in `by_uid` whose turn did not come: it hung before."""
        users = random.sample(list(by_uid), len(by_uid))  # the same files must not always take the room
        files = [one for uid in users for one in random.sample(by_uid[uid], len(by_uid[uid]))]
        child = _Child(files, MOST_BYTES_A_READ // len(users))
        came = child.pieces(_PATIENCE_S)
        yield from came
        if not child.pid:
            by_uid.clear()
            return
        os.kill(child.pid, signal.SIGKILL)
        self._abandoned.add(child.pid)  # in an uninterruptible sleep it does not even die
        for uid in [one.uid for one in files[: len(came)]]:
            by_uid.pop(uid, None)
        sick = files[len(came)].uid
        self._hanging_until_s[sick] = time.monotonic() + _LEFT_ALONE_S
        by_uid.pop(sick, None)
        yield from (Piece(one, one.offset, error=self._hangs(sick)) for one in files[len(came) :] if one.uid == sick)

    def _hangs(self, uid: int) -> str | None:
        hangs = time.monotonic() < self._hanging_until_s.get(uid, 0)
        return f"its file system did not answer within {_PATIENCE_S:g} s" if hangs else None

    def _bury(self) -> None:
        for child in list(self._abandoned):
            if os.waitpid(child, os.WNOHANG)[0]:
                self._abandoned.discard(child)


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


def _read_all(reading: int, writing: int, files: list[Wanted], room: int) -> None:
    """Read each file with the rights of its user, `room` bytes for each user, and write into the pipe. Never returns.

    Files and groups are those of the user, as after a setuid; the real user stays root, so that users can neither stop
    this process nor look into it, and so that it can go on with the next one's files.
    """
    try:
        os.close(reading)
        uid, left = os.geteuid(), room
        for one in files:
            if one.uid != uid:
                uid, left = one.uid, room
                _become(uid)
            piece = _piece(one, min(left, MOST_BYTES))
            left -= len(piece.content)
            head = {**piece._asdict(), "wanted": None, "content": len(piece.content)}
            raw = json.dumps(head).encode() + b"\n" + piece.content
            while raw:
                raw = raw[os.write(writing, raw) :]
    finally:
        os._exit(0)  # nothing of the parent's may run here


def _become(uid: int) -> None:
    user = pwd.getpwuid(uid)
    os.seteuid(0)
    os.initgroups(user.pw_name, user.pw_gid)
    os.setegid(user.pw_gid)
    os.seteuid(uid)


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
    content = os.pread(file, min(room, status.st_size - offset), offset)  # files of the kernel's have no size
    end = offset + len(content)
    return Piece(one, offset, content, end >= status.st_size, None, anew, _identity(file, status.st_ino, end))


def _identity(file: int, inode: int, size: int) -> str:
    """Name a file that was read up to `size`: a file written anew may have the same inode and be longer, too."""
    length = min(size, _HEAD_BYTES)
    return f"{inode}.{length}.{zlib.crc32(os.pread(file, length, 0)):08x}"


def _is_same(known: str | None, file: int, inode: int) -> bool:
    length = (known or "").split(".")[1:2]
    return not length or not length[0].isdecimal() or _identity(file, inode, int(length[0])) == known


def _unpack(raw: bytes, files: list[Wanted]) -> Iterator[Piece]:
    for one in files:
        line, mark, raw = raw.partition(b"\n")
        if not mark:
            return  # there was no room for more, or the child died
        head = json.loads(line)
        content, raw = raw[: head["content"]], raw[head["content"] :]
        if len(content) < head["content"]:
            return
        yield Piece(**{**head, "wanted": one, "content": content})
