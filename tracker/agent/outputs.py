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
from typing import Iterable, NamedTuple

MOST_BYTES = 256 * 1024  # of one file at a time
MOST_BYTES_A_READ = 2 * 1024 * 1024
_PATIENCE_S = 2.0  # a file system that hangs must not hold up the points of all jobs
_FILE = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY


class Wanted(NamedTuple):
    """An output file that the server follows: from byte `offset`, to be read with the rights of `uid`."""

    folder: str
    stream: str
    path: str
    uid: int
    offset: int


class Piece(NamedTuple):
    """Bytes of an output file from `offset`. `eof`: the file ended after them. `error` instead of bytes."""

    wanted: Wanted
    offset: int
    content: bytes
    eof: bool
    error: str | None


class OutputReader:
    """Reads output files; remembers whose file system hangs."""

    def __init__(self) -> None:
        self._hanging_until_s: dict[int, float] = {}
        self._abandoned: set[int] = set()

    def read(self, wanted: list[Wanted]) -> list[Piece]:
        """Return a piece for each file, in no order, as far as 4 MiB go; none where the file system did not answer."""
        by_uid: dict[int, list[Wanted]] = {}
        for one in random.sample(list(wanted), len(wanted)):  # the same files must not always take the room
            by_uid.setdefault(one.uid, []).append(one)
        self._bury()
        pieces: list[Piece] = []
        for uid, files in by_uid.items():
            if sum(len(piece.content) for piece in pieces) >= MOST_BYTES_A_READ:
                break
            refusal = _refusal(uid)
            if refusal:
                pieces += [Piece(one, one.offset, b"", False, refusal) for one in files]
            elif time.monotonic() >= self._hanging_until_s.get(uid, 0):
                pieces += self._read_as(uid, files)
        return pieces

    def _read_as(self, uid: int, files: list[Wanted]) -> list[Piece]:
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            _child(reading, writing, uid, files)
        os.close(writing)
        try:
            raw = _read_all(reading, time.monotonic() + _PATIENCE_S)
        finally:
            os.close(reading)
        if raw is None:
            os.kill(child, signal.SIGKILL)
            self._abandoned.add(child)  # in an uninterruptible sleep it does not even die
            self._hanging_until_s[uid] = time.monotonic() + 60
            return []
        os.waitpid(child, 0)
        return list(_unpack(raw, files))

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


def _child(reading: int, writing: int, uid: int, files: list[Wanted]) -> None:
    """Give up root's rights, read, write what was read into the pipe. Never returns."""
    try:
        os.close(reading)
        if os.geteuid() == 0:
            user = pwd.getpwuid(uid)
            os.initgroups(user.pw_name, user.pw_gid)
            os.setresgid(user.pw_gid, user.pw_gid, user.pw_gid)
            os.setresuid(uid, uid, uid)
        with os.fdopen(writing, "wb") as pipe:
            room = MOST_BYTES_A_READ
            for one in files:
                piece = _piece(one)
                room -= len(piece.content)
                if room < 0:
                    break
                head = {"offset": piece.offset, "length": len(piece.content), "eof": piece.eof, "error": piece.error}
                pipe.write(json.dumps(head).encode() + b"\n" + piece.content)
    finally:
        os._exit(0)  # nothing of the parent's may run here


def _piece(one: Wanted) -> Piece:
    try:
        file = os.open(one.path, _FILE)
        try:
            status = os.fstat(file)
            if not stat.S_ISREG(status.st_mode):
                return Piece(one, one.offset, b"", False, "it is no ordinary file")
            offset = one.offset if one.offset <= status.st_size else 0  # it was written anew
            offset = max(offset, status.st_size - MOST_BYTES)
            content = os.pread(file, MOST_BYTES, offset)
            return Piece(one, offset, content, offset + len(content) >= status.st_size, None)
        finally:
            os.close(file)
    except (OSError, ValueError) as problem:
        return Piece(one, one.offset, b"", False, getattr(problem, "strerror", None) or str(problem))


def _read_all(pipe: int, until_s: float) -> bytes | None:
    chunks: list[bytes] = []
    while True:
        ready, _, _ = select.select([pipe], [], [], max(0.0, until_s - time.monotonic()))
        if not ready:
            return None
        chunk = os.read(pipe, 1024 * 1024)
        if not chunk:
            return b"".join(chunks)
        chunks.append(chunk)


def _unpack(raw: bytes, files: list[Wanted]) -> Iterable[Piece]:
    for one in files:
        line, mark, raw = raw.partition(b"\n")
        if not mark:
            return  # the child died
        head = json.loads(line)
        content, raw = raw[: head["length"]], raw[head["length"] :]
        yield Piece(one, head["offset"], content, head["eof"], head["error"])
