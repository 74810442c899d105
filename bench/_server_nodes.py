"""Many nodes at once, as large clusters have them: what a request waits, costs, and leaves to be compacted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from sqlalchemy import func, select

from bench._figures import Row, Table, progress, told
from bench._servers import Server, each_kind, ended_cpu_s, family_cpu_s, place, postgresql_pid, tracker_server
from bench._swarm import Load, Requests, Swarm
from tracker.store import batches
from tracker.store.database import Database
from tracker.store.tables import Batch

if TYPE_CHECKING:
    from bench.server import Asked

NODES, EVERY_S, RUNS_A_NODE, METRICS_A_RUN = 1_000, 5.0, 8, 20
WHOSE = ("the server's", "PostgreSQL's", "the nodes'")


def measure(asked: Asked) -> list[Table]:
    """One table: nodes by database; with `--quick` only as many as the bar is for."""
    rows: list[Row] = []
    with place() as folder, each_kind(folder, asked.kinds) as databases:
        for kind, database in databases.items():
            pid = postgresql_pid(folder) if kind == "postgresql" else None
            with tracker_server(folder / kind, database) as server:
                for share in (1,) if asked.quick else (0.1, 1):
                    rows.append(_nodes(kind, server, pid, round(NODES * share), asked.minutes * 60))
    return [Table(f"Nodes, each a request every {EVERY_S:g} s of {RUNS_A_NODE} runs x {METRICS_A_RUN} metrics", rows)]


def _nodes(kind: str, server: Server, postgresql_pid: int | None, nodes: int, duration_s: float) -> Row:
    progress(f"  {kind}: {nodes} nodes for {duration_s:g} s")
    load = Load(nodes, EVERY_S, RUNS_A_NODE, METRICS_A_RUN, first_job=nodes * 10_000)
    swarm = Swarm(Requests(server, load))
    swarm.run(server.port, EVERY_S * 2)  # the runs are made
    swarm.took_s, swarm.cpu_s = [], 0.0
    before_s, of_postgresql_s = family_cpu_s(server.pid), _cpu_s(postgresql_pid)
    swarm.run(server.port, duration_s)
    used_s = family_cpu_s(server.pid) - before_s, _cpu_s(postgresql_pid) - of_postgresql_s, swarm.cpu_s
    took_ms = np.array(swarm.took_s) * 1000
    half = len(took_ms) // 2
    row: Row = {
        "": f"{kind}, {nodes:,} nodes",
        "minutes": round(duration_s / 60, 1),
        "requests": len(took_ms),
        "p50 ms": float(np.percentile(took_ms, 50)),
        "p99 ms": float(np.percentile(took_ms, 99)),
        "bar p99 ms": 250.0,
        "max ms": float(took_ms.max()),
        "p99 of the second half ms": float(np.percentile(took_ms[half:], 99)),
        **{
            f"ms of {one} processors a request": took_s / len(took_ms) * 1000
            for one, took_s in zip(WHOSE, used_s, strict=True)
        },
        "batches left at the end": _batches(server.database),
        "of at most, and what is being compacted": nodes * RUNS_A_NODE * batches.MANY,
    }
    return told(row)


def _cpu_s(pid: int | None) -> float:
    return family_cpu_s(pid) + ended_cpu_s(pid) if pid else 0.0


def _batches(database: str) -> int:
    """How many requests' points are not yet made segments."""
    db = Database(database)
    with db.read() as session:
        waiting = session.scalar(select(func.count()).select_from(Batch)) or 0
    db.close()
    return waiting
