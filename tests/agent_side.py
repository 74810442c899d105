"""What an agent would send, for tests of what the server makes of it."""

from __future__ import annotations

import json
import time
from datetime import datetime, timezone
from typing import Any

from tracker.actions.ingest import Door
from tracker.events import encode_request
from tracker.store.database import Database
from tracker.store.identity import Identity

NODE = Identity("agent", "node")
ADMIN = Identity("root", "admin")


class Agent:
    """An agent of one node that delivers straight to the action."""

    def __init__(
        self, db: Database, node: str = "n1", cluster: str | None = "dev", skew_s: float = 0, shared: bool = False
    ) -> None:
        self.door = Door(db, log_tail_bytes=1000)
        self.db, self.node, self.cluster, self.skew_s, self.shared = db, node, cluster, skew_s, shared

    def send(
        self, *parts: tuple[dict[str, Any], bytes], folders: tuple[str, ...] = (), present: tuple[str, ...] = ()
    ) -> dict[str, Any]:
        manifest = {
            "version": 1,
            "agent": {"node": self.node, "cluster": self.cluster, "time": time.time() - self.skew_s}
            | {"shared": self.shared},
            "folders": list(folders),
            "present": list(present),
            "parts": [{**part, "length": len(blob)} for part, blob in parts],
        }
        body = encode_request(manifest, [blob for _, blob in parts])
        return self.door.take(NODE, body, datetime.now(timezone.utc))


def hook(kind: str, job_id: int, *, at: float, pid: int = 1, **variables: Any) -> tuple[dict[str, Any], bytes]:
    """A hook's event."""
    said = {"HOOK": kind, "SLURM_JOB_ID": job_id, "SLURM_CLUSTER_NAME": "dev", "SLURM_JOB_USER": "alice", **variables}
    raw = b"".join(f"{key}={value}".encode() + b"\0" for key, value in said.items())
    return {"type": "hook", "name": f"{kind}.{job_id}.{pid}", "time": at}, raw


def lines(
    folder: str, *messages: Any, writer: str = "w1", offset: int = 0, own: bool = False
) -> tuple[dict[str, Any], bytes]:
    """Lines of a spool file, or the agent's own."""
    raw = b"".join((one if isinstance(one, bytes) else json.dumps(one).encode()) + b"\n" for one in messages)
    return {"type": "lines", "folder": folder, "writer": writer, "offset": offset, "user": "alice", "own": own}, raw


def points(count: int, metric: str = "loss", first: int = 0) -> list[dict[str, Any]]:
    """Lines of points 1/(step+1)."""
    return [
        {"metrics": {metric: 1 / (step + 1)}, "step": step, "time": 1.7e9 + step}
        for step in range(first, first + count)
    ]
