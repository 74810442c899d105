"""An S3-compatible store that keeps copies of files by their digest, through s3fs, which is fsspec's.

A large file goes in parts, each an object named by its own digest, which the store then puts together by itself: the
final object appears whole or not at all, and an upload that was broken off sends only the parts that are missing.
"""

from __future__ import annotations

import hashlib

from tracker.client.artifacts import Changed, File
from tracker.client.copies import place
from tracker.client.encode import Unusable
from tracker.client.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any, Iterator

PART_BYTES = 32 * 1024 * 1024
_MOST_PARTS = 9000  # S3 takes 10,000
_PATIENCE = {"connect_timeout": 10, "read_timeout": 60, "retries": {"max_attempts": 3}}


class S3Store:
    """A bucket, or a place in one: `s3://bucket/prefix`. Keys and endpoint are those that s3fs finds (AWS_…)."""

    def __init__(self, url: str) -> None:
        """Use this place. Raises Unusable without s3fs."""
        try:
            import s3fs  # noqa: PLC0415  # the user's own, only where a copy in S3 is asked for
        except ImportError:
            way_out = "pip install 'slurm-tracker[artifacts]'"
            raise Unusable(f"s3fs is needed for copies in {url}: {way_out}") from None
        self.url = url.rstrip("/")
        self._root = self.url[len("s3://") :]
        self._files: Any = s3fs.S3FileSystem(use_listings_cache=False, config_kwargs=_PATIENCE)

    def put(self, file: File) -> str:
        """Copy a file unless it is there; return its digest. Raises Changed; what s3fs raises means that it failed."""
        part_bytes = max(PART_BYTES, -(-file.size_bytes // _MOST_PARTS))
        whole, parts = hashlib.sha256(), []
        for block in file.blocks(part_bytes):
            whole.update(block)
            parts.append(hashlib.sha256(block).hexdigest())
        digest = whole.hexdigest()
        final = f"{self._root}/{place(digest)}"
        if self._size_of(final) != file.size_bytes:
            if len(parts) > 1:
                self._put_parts(file, final, f"{self._root}/partial/{digest}", parts, part_bytes)
            else:
                self._files.pipe_file(final, b"".join(_checked(file, parts, part_bytes)))
        return digest

    def put_bytes(self, content: bytes) -> str:
        """Keep bytes; return their digest."""
        digest = hashlib.sha256(content).hexdigest()
        final = f"{self._root}/{place(digest)}"
        if self._size_of(final) != len(content):
            self._files.pipe_file(final, content)
        return digest

    def _put_parts(self, file: File, final: str, folder: str, parts: list[str], part_bytes: int) -> None:
        names = [f"{folder}/{number:05}-{digest}" for number, digest in enumerate(parts)]
        there = self._sizes_in(folder)
        for number, name in enumerate(names):
            start = number * part_bytes
            if there.get(name) != min(part_bytes, file.size_bytes - start):
                self._files.pipe_file(name, next(_checked(file, parts, part_bytes, number)))
        try:
            self._files.merge(final, names)
        except OSError:  # whoever uploaded the same at the same time has put it together and removed the parts
            if self._size_of(final) != file.size_bytes:
                raise
        for name in self._sizes_in(folder):
            self._files.rm_file(name)

    def _size_of(self, path: str) -> int | None:
        try:
            return int(self._files.info(path)["size"])
        except FileNotFoundError:
            return None

    def _sizes_in(self, folder: str) -> dict[str, int]:
        try:
            found = self._files.ls(folder, detail=True)
        except FileNotFoundError:
            return {}
        return {one["name"]: int(one["size"]) for one in found}


def _checked(file: File, parts: list[str], part_bytes: int, first: int = 0) -> Iterator[bytes]:
    """Yield the parts from number `first`, each as it was when its digest was computed. Raises Changed."""
    for digest, block in zip(parts[first:], file.blocks(part_bytes, first * part_bytes)):
        if hashlib.sha256(block).hexdigest() != digest:
            raise Changed(f"{file.path} changed while it was copied")
        yield block
