"""Artifacts: files and folders that a run made, told as the lines of docs/spool.md say; a copy only if asked for."""

from __future__ import annotations

import hashlib
import os
import stat

from tracker.client import encode
from tracker.client.encode import Unusable
from tracker.client.typed import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from typing import Any, Generator, Iterator, Mapping, TypeVar

    Result = TypeVar("Result")
    Hashing = Generator[None, None, Result]

INLINE_BYTES = 64 * 1024 * 1024  # up to here the digest is computed at once, beyond in the background
MOST_FILES = 100_000  # of one folder
MOST_LISTED = 200  # files that the line names
_MOST_LISTED_BYTES = 500_000
CHUNK_BYTES = 1024 * 1024
_FILE = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


def result_of(work: Hashing[Result]) -> Result:
    """Do such work to its end."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]


class Changed(Exception):
    """A file is not what it was when it was looked at."""


class File(NamedTuple):
    """A regular file as it was looked at. `name` is its place in the artifact's folder, empty for a file alone."""

    name: str
    path: str
    size_bytes: int
    mtime_ns: int
    identity: tuple[int, int]  # device and inode

    @classmethod
    def of(cls, name: str, path: str, status: os.stat_result) -> File:
        """Keep what tells later whether it is still the same."""
        return cls(name, path, status.st_size, status.st_mtime_ns, (status.st_dev, status.st_ino))

    def blocks(self, size_bytes: int = CHUNK_BYTES, start: int = 0) -> Iterator[bytes]:
        """Yield the file's bytes from `start`, each block but the last `size_bytes` long.

        Raises Changed when the file is not the one that was looked at, before or after it was read.
        """
        try:
            fd = os.open(self.path, _FILE)
        except OSError as problem:
            raise Changed(f"{self.path} cannot be read: {problem.strerror}") from None
        with open(fd, "rb", buffering=0) as file:
            self._check(fd)
            at = start
            while at < self.size_bytes:
                block = _read(fd, min(size_bytes, self.size_bytes - at), at)
                if not block:
                    break
                at += len(block)
                yield block
            self._check(file.fileno())
        if at != self.size_bytes:
            raise Changed(f"{self.path} changed while it was read")

    def _check(self, fd: int) -> None:
        if File.of(self.name, self.path, os.fstat(fd)) != self:
            raise Changed(f"{self.path} changed while it was read")

    def sha256(self) -> str:
        """Return the digest of the file as it was looked at. Raises Changed when it is another by now."""
        return result_of(self.hashing())

    def hashing(self) -> Hashing[str]:
        """Compute the digest block by block, for those who do other work in between. Raises Changed."""
        digest = hashlib.sha256()
        for block in self.blocks():
            digest.update(block)
            yield
        return digest.hexdigest()


class Artifact:
    """A file, or a folder with all its files, as it was looked at."""

    def __init__(self, path: Any) -> None:
        """Look at a path; where it is a link, at what it points to. Raises Unusable for what is no file or folder."""
        given = os.fspath(path)
        given = os.fsdecode(given) if isinstance(given, bytes) else given
        self.name = os.path.basename(os.path.abspath(given))
        self.path = os.path.realpath(given)
        self.left_out = 0  # links, devices and the like in the folder
        try:
            status = os.stat(self.path)
            self.is_folder = stat.S_ISDIR(status.st_mode)
            if self.is_folder:
                self.files = sorted(self._walk(self.path, ""), key=lambda file: os.fsencode(file.name))
            elif stat.S_ISREG(status.st_mode):
                self.files = [File.of("", self.path, status)]
            else:
                raise Unusable(f"{self.path} is neither a file nor a folder")
        except OSError as problem:
            raise Unusable(f"{problem.filename or self.path}: {problem.strerror}") from None
        self.size_bytes = sum(file.size_bytes for file in self.files)
        self.mtime_s = status.st_mtime

    def _walk(self, folder: str, prefix: str, seen: list[int] | None = None) -> Iterator[File]:
        seen = [] if seen is None else seen
        with os.scandir(folder) as entries:
            for entry in entries:
                name = f"{prefix}{entry.name}"
                if entry.is_dir(follow_symlinks=False):
                    yield from self._walk(entry.path, f"{name}/", seen)
                elif entry.is_file(follow_symlinks=False):
                    seen.append(1)
                    if len(seen) > MOST_FILES:
                        raise Unusable(f"a folder may have {MOST_FILES} files: pack it into one file, with tar for one")
                    yield File.of(name, entry.path, entry.stat(follow_symlinks=False))
                else:
                    self.left_out += 1

    def hashing(self) -> Hashing[dict[str, str]]:
        """Compute the digest of each file by its name, block by block. Raises Changed."""
        digests = {}
        for file in self.files:
            digests[file.name] = yield from file.hashing()
        return digests

    def sha256(self, digests: Mapping[str, str]) -> str:
        """Return the artifact's digest: the file's, or for a folder that of its manifest."""
        return hashlib.sha256(self.manifest(digests)).hexdigest() if self.is_folder else digests[""]

    def manifest(self, digests: Mapping[str, str]) -> bytes:
        """Return what `sha256sum` prints for the folder's files, sorted by name."""
        return b"".join(_manifest_line(file.name, digests[file.name]) for file in self.files)

    def told(self, digests: Mapping[str, str] | None = None) -> dict[str, Any]:
        """Return what a line says of the artifact; of a folder's files it names the first."""
        told: dict[str, Any] = {"path": self.path, "size_bytes": self.size_bytes, "mtime": self.mtime_s}
        if digests is not None:
            told["sha256"] = self.sha256(digests)
        if self.is_folder:
            told["file_count"] = len(self.files)
            told["files"] = list(self._listed(digests or {}))
        return told

    def _listed(self, digests: Mapping[str, str]) -> Iterator[dict[str, Any]]:
        room = _MOST_LISTED_BYTES
        for file in self.files[:MOST_LISTED]:
            room -= len(encode.line_of({"": file.name})) + 120
            if room < 0:
                return
            sha256 = {"sha256": digests[file.name]} if file.name in digests else {}
            yield {"path": file.name, "size_bytes": file.size_bytes, **sha256}


def _read(fd: int, length: int, at: int) -> bytes:
    """Return so many bytes; fewer only at the end of the file. One read of a file system far away may bring fewer."""
    block = os.pread(fd, length, at)
    while block and len(block) < length:
        more = os.pread(fd, length - len(block), at + len(block))
        if not more:
            break
        block += more
    return block


def _manifest_line(name: str, sha256: str) -> bytes:
    raw = os.fsencode(name)
    escaped = raw.replace(b"\\", b"\\\\").replace(b"\n", b"\\n").replace(b"\r", b"\\r")
    return (b"" if raw == escaped else b"\\") + sha256.encode() + b"  " + escaped + b"\n"
