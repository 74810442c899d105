"""Single requests on a kept connection: nothing waits for the transport."""

from __future__ import annotations

import time
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
    rows: list[Row] = [
        {
            "": f"{kind}: {name}",
            "n": len(values),
            "p50 ms": median(values) * 1000,
            "bar p50 ms": BAR_MS if name == "one line of points" else None,
            "p99 ms": float(np.percentile(values, 99)) * 1000,
        }
        for name, values in took.items()
    ]
    return [told(row) for row in rows]
