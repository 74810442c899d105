"""Single requests on a kept connection: nothing waits for the transport."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench._agents import Agent, lines_of, local_folder
from bench._figures import Row, Table, median, progress, told
from bench._servers import Server, each_kind, place, tracker_server

if TYPE_CHECKING:
    from bench.server import Asked

METRICS = 10
SMALL, NEW_RUNS = 400, 100
BAR_MS = 3.0


def measure(asked: Asked) -> list[Table]:
    """One table: a line of points, nothing, and a new run, by database."""
    rows: list[Row] = []
    with place() as folder, each_kind(folder, asked.kinds) as databases:
        for kind, database in databases.items():
            with tracker_server(folder / kind, database) as server:
                progress(f"  {kind}: single requests")
                rows += _single(kind, server)
        rows.append(_row("the disk: a write of 8 KB that is waited for, as a commit on PostgreSQL", _writes(folder)))
    return [Table("Single requests on a kept connection", rows)]


def _single(kind: str, server: Server) -> list[Row]:
    agent, folder, offset = Agent(server), local_folder(), 0
    line = lines_of(1, METRICS)
    took: dict[str, list[float]] = {"one line of points": [], "nothing (`/healthz`)": [], "a new run and its line": []}
    for _ in range(SMALL):
        started_s = time.perf_counter()
        part: dict[str, object] = {"type": "lines", "folder": folder, "writer": "w1", "offset": offset}
        offset = agent.send([(part, line)])[0]["offset"]
        took["one line of points"].append(time.perf_counter() - started_s)
        started_s = time.perf_counter()
        agent.connection.request("GET", "/healthz")
        agent.connection.getresponse().read()
        took["nothing (`/healthz`)"].append(time.perf_counter() - started_s)
    for _ in range(NEW_RUNS):
        header = b'{"event":"writer","version":1,"node":"n1","rank":0,"time":1763688000.25}\n'
        started_s = time.perf_counter()
        agent.send([({"type": "lines", "folder": local_folder(), "writer": "w1", "offset": 0}, header + line)])
        took["a new run and its line"].append(time.perf_counter() - started_s)
    return [
        _row(f"{kind}: {name}", values, BAR_MS if name == "one line of points" else None)
        for name, values in took.items()
    ]


def _row(name: str, took_s: list[float], bar_ms: float | None = None) -> Row:
    return told(
        {
            "": name,
            "n": len(took_s),
            "p50 ms": median(took_s) * 1000,
            "bar p50 ms": bar_ms,
            "p99 ms": float(np.percentile(took_s, 99)) * 1000,
        }
    )


def _writes(folder: Path) -> list[float]:
    """How long the disk takes by itself, the database left out."""
    took_s = []
    with (folder / "written").open("wb", buffering=0) as file:
        file.write(bytes(SMALL * 8192))
        os.fsync(file.fileno())
        for number in range(SMALL):
            started_s = time.perf_counter()
            os.pwrite(file.fileno(), os.urandom(8192), number * 8192)
            os.fdatasync(file.fileno())
            took_s.append(time.perf_counter() - started_s)
    return took_s
