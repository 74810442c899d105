"""How many points a second the server takes in."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from bench._agents import Agent, in_processes, lines_of, local_folder
from bench._figures import Row, Table, median, progress, told
from bench._growth import Growth
from bench._mlflow import beside, log_batches
from bench._servers import Server, each_kind, family_cpu_s, place, tracker_server

if TYPE_CHECKING:
    from bench.server import Asked

PROCESSES, METRICS = 4, 10
LINES_A_REQUEST = 5_000
COSTS = ("median points/s", "µs of the server's processors a point")


def measure(asked: Asked) -> list[Table]:
    """Points a second by database and size, and by MLflow; and how that grows."""
    rounds, sizes = (2, (1,)) if asked.quick else (5, (0.1, 1, 10))
    rows, growth = list[Row](), Growth("points")
    with place() as folder, each_kind(folder, asked.kinds) as databases:
        for kind, database in databases.items():
            with tracker_server(folder / kind, database) as server:
                for size in sizes:
                    rows.append(_throughput(kind, server, size, rounds))
                    growth.add(kind, float(rows[-1]["points"] or 0), rows[-1], *COSTS)
            if kind == "postgresql" and asked.peers:
                rows.append(_mlflow(folder, database, rounds))
    return [Table(f"Points a second, {PROCESSES} processes, {METRICS} metrics a line", rows), *growth.tables()]


def _throughput(kind: str, server: Server, size: float, rounds: int) -> Row:
    requests = max(1, round(20 * size))
    points = PROCESSES * requests * LINES_A_REQUEST * METRICS
    progress(f"  {kind}: {points:,} points, {rounds} times")
    blobs = [lines_of(LINES_A_REQUEST, METRICS, first=one * LINES_A_REQUEST) for one in range(min(requests, 10))]

    def work(_number: int, ready: Callable[[], object]) -> float:
        agent, folder, offset = Agent(server), local_folder(), 0
        ready()
        for request in range(requests):
            part: dict[str, object] = {"type": "lines", "folder": folder, "writer": "w1", "offset": offset}
            (held,) = agent.send([(part, blobs[request % len(blobs)])])
            offset = held["offset"]
        return time.monotonic()

    found, used = [], []
    for _ in range(rounds):
        before_s = family_cpu_s(server.pid)
        found.append(points / in_processes(work, PROCESSES))
        used.append((family_cpu_s(server.pid) - before_s) * 1e6 / points)
    return told(_rates(kind, points, found, used))


def _rates(name: str, points: int, found: list[float], used: list[float]) -> Row:
    return {
        "": name,
        "points": points,
        "n": len(found),
        "median points/s": median(found),
        "min points/s": min(found),
        "max points/s": max(found),
        "µs of the server's processors a point": median(used),
    }


def _mlflow(folder: Path, database: str, rounds: int) -> Row:
    """MLflow's log-batch on the same PostgreSQL."""
    with beside(folder, database) as (url, pid):
        found, used, points = [], [], 0
        for _ in range(rounds):
            before_s = family_cpu_s(pid)
            points, took_s = log_batches(url, PROCESSES, METRICS)
            found.append(points / took_s)
            used.append((family_cpu_s(pid) - before_s) * 1e6 / points)
    return told(_rates("MLflow, postgresql", points, found, used))
