"""Another agent, written from docs/protocol.md alone: it imports nothing of ours."""

from __future__ import annotations

import json
import time
import urllib.request
from typing import Any

from tracker.store import logs, runs
from tracker.store.tables import Run

from .conftest import Server

LINES = b"".join(
    b'{"metrics":{"loss":%.2f},"step":%d,"time":%d}\n' % (1 / (step + 1), step, 1.7e9) for step in range(9)
)
OUTPUT = b"epoch 1\nepoch 2\n"


class SmallAgent:
    """Ships one job's file and output."""

    def __init__(self, url: str, token: str) -> None:
        self.url, self.token, self.follow, self.told, self.held = url, token, [], {}, 0  # type: ignore[var-annotated]
        self.released = False

    def send(self, *parts: tuple[dict[str, Any], bytes]) -> dict[str, Any]:
        manifest = {
            "version": 1,
            "agent": {"node": "n1", "cluster": "dev", "shared": False, "time": time.time()},
            "folders": ["dev.12"] if self.held == len(LINES) else [],
            "present": ["dev.12"],
            "parts": [{**part, "length": len(raw)} for part, raw in parts],
        }
        body = json.dumps(manifest).encode() + b"\n" + b"".join(raw for _, raw in parts)
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/vnd.tracker.ingest"}
        request = urllib.request.Request(f"{self.url}/api/v1/ingest", body, headers, method="POST")
        with urllib.request.urlopen(request, timeout=10) as answer:
            said: dict[str, Any] = json.load(answer)
        assert len(said["parts"]) == len(parts)
        self.follow, self.released = said["follow"], "dev.12" in said["release"]
        self.told = {one.pop("folder"): one for one in said["tell"]}
        return said

    def hook(self, kind: str) -> None:
        said = {"HOOK": kind, "SLURM_JOB_ID": "12", "SLURM_CLUSTER_NAME": "dev", "SLURM_JOB_USER": "alice"}
        raw = b"".join(f"{key}={value}\0".encode() for key, value in said.items())
        part = {"type": "hook", "name": f"{kind}.12.1", "time": time.time()}
        assert self.send((part, raw))["parts"] == [{"stored": True}]

    def lines(self) -> None:
        part = {"type": "lines", "folder": "dev.12", "writer": "w1", "offset": self.held, "uid": 1001, "user": "alice"}
        (said,) = self.send((part, LINES[self.held :][:100].rpartition(b"\n")[0] + b"\n"))["parts"]
        self.held = said["offset"]

    def output(self) -> None:
        for wish in self.follow:
            part = {key: wish[key] for key in ("folder", "stream", "offset")}
            part |= {"type": "log", "after": wish["offset"], "eof": True}
            self.send((part, OUTPUT[wish["offset"] :]))


def test_an_agent_that_knows_only_the_protocol_ships_a_job(server: Server) -> None:
    agent = SmallAgent(server.url, server.token("n1", "node", "node"))
    agent.hook("prolog")
    with server.database.write() as session:
        (run,) = session.query(Run).all()
        run.time_limit_s = 600
        logs.expect(session, [logs.Output(run.id, "stdout", "/home/alice/slurm-12.out", "n1", 1001)])
    while agent.held < len(LINES):
        agent.lines()
    assert agent.told["dev.12"]["attempt"] == 1
    assert agent.told["dev.12"]["ends_at"] > time.time()
    for _ in range(3):
        agent.output()
    agent.hook("epilog")
    assert not agent.released
    with server.database.write() as session:
        over = session.get_one(Run, run.id)
        runs.changes(over, state="COMPLETED", state_source="accounting")
        over.accounting_due = False
    agent.send()
    assert agent.released
    told = server.ask("/api/v1/runs/dev:12", token=server.token()).json
    assert (told["user"], told["summary"]["loss"]["count"]) == ("alice", 9)
    assert server.ask("/api/v1/runs/dev:12/log", token=server.token()).json["text"] == OUTPUT.decode()
