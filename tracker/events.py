"""The formats on disk and on the wire, told in docs/spool.md and docs/protocol.md.

Both wings read and write them through this file.
"""

from __future__ import annotations

import json
import re
from typing import Any, Iterable, NamedTuple

from tracker.errors import BadManifest

PROTOCOL_VERSION = 1
MAX_REQUEST_BYTES = 8 * 1024 * 1024
MAX_LINE_BYTES = 1024 * 1024
INGEST_TYPE = "application/vnd.tracker.ingest"

WRITER_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")
_SLURM_FOLDER = re.compile(r"([A-Za-z0-9_-]{1,64})\.([1-9][0-9]{0,17})\Z")
_LOCAL_FOLDER = re.compile(r"local\.([0-9a-f]{32})\Z")


_BESIDE = re.compile(r"run_([0-9a-f]{32})_")


def run_of_writer(writer_name: str) -> str | None:
    """Return the id of the run that a file belongs to when it is not the folder's own; else None."""
    beside = _BESIDE.match(writer_name)
    return beside.group(1) if beside else None


class JobFolder(NamedTuple):
    """What the name of a job's spool folder says: a Slurm job, or a run outside Slurm."""

    cluster: str | None
    job_id: int | None
    run_id: str | None  # 32 hexadecimal digits, outside Slurm only

    @property
    def name(self) -> str:
        """The folder's name."""
        return f"local.{self.run_id}" if self.run_id else f"{self.cluster}.{self.job_id}"

    @classmethod
    def parse(cls, name: str) -> JobFolder | None:
        """Read a folder's name; None when it is not one of ours."""
        local = _LOCAL_FOLDER.match(name)
        if local:
            return cls(None, None, local.group(1))
        slurm = _SLURM_FOLDER.match(name)
        return cls(slurm.group(1), int(slurm.group(2)), None) if slurm else None


def parse_hook_event(raw: bytes) -> dict[str, str]:
    """Read a hook's event file: the value of each variable, `HOOK` among them. Bytes that are no UTF-8 are replaced."""
    records = raw.decode("utf-8", "replace").split("\0")
    found = {key: value for key, mark, value in (record.partition("=") for record in records) if mark}
    found.pop("END", None)
    return found


def is_whole_hook_event(raw: bytes) -> bool:
    """Whether a hook has written all of its event."""
    return raw.endswith(b"\0END=1\0")


def encode_request(manifest: dict[str, Any], blobs: Iterable[bytes]) -> bytes:
    """Put an ingest request together: the manifest's line, then the bytes of its parts in order."""
    return b"".join([json.dumps(manifest, separators=(",", ":")).encode(), b"\n", *blobs])


def decode_request(body: bytes) -> tuple[dict[str, Any], list[bytes]]:
    """Take an ingest request apart. Raises BadManifest when it is not in the form of docs/protocol.md."""
    line, mark, rest = body.partition(b"\n")
    try:
        manifest = json.loads(line)
    except (ValueError, RecursionError):
        raise BadManifest("The first line of an ingest request is not JSON.") from None
    if not mark or not isinstance(manifest, dict) or manifest.get("version") != PROTOCOL_VERSION:
        raise BadManifest(f"An ingest request begins with a line of JSON of version {PROTOCOL_VERSION}.")
    if not isinstance(manifest.get("agent"), dict):
        raise BadManifest("`agent` must be an object.")
    parts = manifest.get("parts")
    if not isinstance(parts, list) or not all(isinstance(part, dict) for part in parts):
        raise BadManifest("`parts` must be a list of objects.")
    return manifest, _cut(rest, parts)


def _cut(rest: bytes, parts: list[dict[str, Any]]) -> list[bytes]:
    blobs, at = [], 0
    for part in parts:
        length = part.get("length")
        if type(length) is not int or length < 0:
            raise BadManifest("Each part needs a `length` in bytes.")
        blobs.append(rest[at : at + length])
        at += length
    if at != len(rest):
        raise BadManifest(f"The parts announce {at} bytes, {len(rest)} came.")
    return blobs
