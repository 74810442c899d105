"""Understand what an agent delivers (docs/protocol.md), before a transaction makes others wait for it."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from tracker.actions.apply_hook import job_of
from tracker.actions.read_lines import read_lines
from tracker.actions.read_values import MAX_TIME_S, text
from tracker.actions.store_lines import Sent
from tracker.errors import BadInput, BadManifest, TrackerError
from tracker.events import MAX_LINE_BYTES, WRITER_NAME, JobFolder, decode_request, parse_hook_event, run_of_writer
from tracker.store.clocks import Measured

Part = dict[str, Any]
_MOST_FOLDERS = 1000


@dataclass(frozen=True)
class Delivery:
    """A request that arrived at `now`, read. `shared`: the agent sees a shared file system, not one node of a cluster.

    `lines` are what parts of type `lines` bring, or why they cannot be used, by their places. `jobs` (cluster, job id)
    and `ids` are of the runs that the parts speak of. `refused` are other parts that the sender may not deliver, by
    their places. `user`: it is a person's, about their own jobs, and `own` are those among the folders it names.
    `is_of_node`: its key is that of its node alone.
    """

    now: datetime
    agent: dict[str, Any]
    node: str
    cluster: str | None
    shared: bool
    manifest: dict[str, Any]
    parts: list[tuple[Part, bytes]]
    lines: dict[int, Sent | TrackerError]
    jobs: set[tuple[str, int]]
    ids: set[str]
    refused: dict[int, TrackerError] = field(default_factory=dict)
    user: str | None = None
    own: frozenset[JobFolder] = frozenset()
    is_of_node: bool = False

    @property
    def is_plain(self) -> bool:
        """Whether all parts are lines."""
        return len(self.lines) == len(self.parts)

    @property
    def measured(self) -> Measured | None:
        """What it shows of its node's clock.

        An agent of a shared file system brings what many clocks said, and a person does not speak for a node.
        """
        said = self.agent.get("time")
        if self.shared or self.user is not None or isinstance(said, bool) or not isinstance(said, (int, float)):
            return None
        if not 0 <= said <= MAX_TIME_S:
            return None
        return Measured(self.cluster or "", self.node, timedelta(seconds=self.now.timestamp() - said), self.now)

    def folders(self, key: str) -> set[JobFolder]:
        """The job folders that the manifest names under that key; of a person's their own."""
        named = self.named(key)
        return named if self.user is None else named & self.own

    def named(self, key: str) -> set[JobFolder]:
        """The job folders that the manifest names under that key, whosever."""
        named = self.manifest.get(key)
        names = [one for one in named[:_MOST_FOLDERS] if isinstance(one, str)] if isinstance(named, list) else []
        return {folder for folder in map(JobFolder.parse, names) if folder}


def read_delivery(body: bytes, now: datetime) -> Delivery:
    """Understand a request. Raises BadManifest when that cannot be."""
    manifest, blobs = decode_request(body)
    agent = manifest["agent"]
    node, cluster = text(agent.get("node"), 255), text(agent.get("cluster"), 64)
    if node is None:
        raise BadManifest("`agent.node` must name the node.")
    parts = [*zip(manifest["parts"], blobs, strict=True)]
    lines: dict[int, Sent | TrackerError] = {
        place: _sent(*part, now) for place, part in enumerate(parts) if part[0].get("type") == "lines"
    }
    jobs, ids = runs_named(parts, cluster)
    return Delivery(now, agent, node, cluster, agent.get("shared") is True, manifest, parts, lines, jobs, ids)


def _sent(part: Part, blob: bytes, now: datetime) -> Sent | BadInput:
    try:
        writer, offset_bytes, folder = part.get("writer"), size(part.get("offset")), folder_of(part)
    except BadInput as problem:
        return problem
    if not isinstance(writer, str) or not WRITER_NAME.match(writer):
        return BadInput("A writer's name is 1 to 64 letters, digits, `_` and `-`.")
    end = blob.rfind(b"\n") + 1 or (len(blob) if len(blob) >= MAX_LINE_BYTES else 0)  # a line that long is rejected
    said = read_lines(blob[:end])
    if part.get("own") is not True:
        said.gpus.clear()  # in a job's folder its user writes what they like
    return Sent(folder, writer, offset_bytes, offset_bytes + end, said, text(part.get("user"), 255), now)


def runs_named(
    parts: Iterable[tuple[Part, bytes]], cluster: str | None
) -> tuple[set[tuple[str, int]], set[str]]:  # fmt: skip
    """The Slurm jobs (cluster, job id) and the ids of runs that parts speak of."""
    jobs: set[tuple[str | None, int | None]] = set()
    ids: set[str] = set()
    for part, blob in parts:
        folder = JobFolder.parse(str(part.get("folder")))
        if part.get("type") == "hook":
            named, job_id = job_of(parse_hook_event(blob))
            jobs.add((named or cluster, job_id))
        elif folder and folder.run_id:
            ids.add(str(uuid.UUID(folder.run_id)))
        elif folder:
            jobs.add((folder.cluster, folder.job_id))
        if folder and (beside := run_of_writer(str(part.get("writer")))):
            ids.add(str(uuid.UUID(beside)))
    return {(cluster, job_id) for cluster, job_id in jobs if cluster and job_id}, ids


def folder_of(part: Part) -> JobFolder:
    """The job folder that a part is of. Raises BadInput."""
    folder = JobFolder.parse(str(part.get("folder")))
    if folder is None:
        raise BadInput("`folder` is <cluster>.<job id> or local.<32 hexadecimal digits>.")
    return folder


def size(value: Any) -> int:
    """An offset or a size in bytes. Raises BadInput."""
    if type(value) is not int or not 0 <= value < 2**63:
        raise BadInput("Offsets and sizes count bytes from 0.")
    return value
