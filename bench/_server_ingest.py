"""What the server takes in: points a second, many nodes at once, small requests, new runs."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench._agents import Agent, Swarm, in_processes, lines_of, local_folder
from bench._figures import Row, Table, median, progress
from bench._mlflow import beside, log_batches
from bench._servers import Server, each_kind, family_cpu_s, place, tracker_server

if TYPE_CHECKING:
    from bench.server import Asked

PROCESSES, METRICS = 4, 10
LINES_A_REQUEST = 5_000
NODES, EVERY_S, RUNS_A_NODE, METRICS_A_RUN = 1_000, 5.0, 8, 20
SMALL, NEW_RUNS = 400, 100


def measure(asked: Asked) -> list[Table]:
    """Three tables: points a second, nodes, single requests."""
    rounds, sizes = (2, (1,)) if asked.quick else (5, (0.1, 1, 10))
    throughput, nodes, single = list[Row](), list[Row](), list[Row]()
    with place() as folder, each_kind(folder, asked.kinds) as databases:
        for kind, database in databases.items():
            with tracker_server(folder / kind, database) as server:
                progress(f"  {kind}: single requests")
                single += _single(kind, server)
                for size in sizes:
                    throughput.append(_throughput(kind, server, size, rounds))
                for share in (0.1, 1) if not asked.quick else (1,):
                    nodes.append(_nodes(kind, server, round(NODES * share), asked.minutes * 60))
            if kind == "postgresql" and asked.peers:
                throughput.append(_mlflow(folder, database, rounds))
    return [
        Table(f"Points a second, {PROCESSES} processes, {METRICS} metrics a line", throughput),
        Table(f"Nodes, each a request every {EVERY_S:g} s of {RUNS_A_NODE} runs x {METRICS_A_RUN} metrics", nodes),
        Table("Single requests on a kept connection", single),
    ]


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
    return _told(_rates(kind, points, found, used))


def _told(row: Row) -> Row:
    """The same; it is told on the way, as a whole run takes an hour."""
    figures = {key: round(value, 2) if isinstance(value, float) else value for key, value in row.items()}
    progress("    " + ", ".join(f"{key} {value}" for key, value in figures.items() if key))
    return row


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
    return _told(_rates("MLflow, postgresql", points, found, used))


def _nodes(kind: str, server: Server, nodes: int, duration_s: float) -> Row:
    progress(f"  {kind}: {nodes} nodes for {duration_s:g} s")
    agents = [Agent(server, f"n{node}", "bench") for node in range(nodes)]
    offsets = [[0] * RUNS_A_NODE for _ in range(nodes)]
    steps = [0] * nodes

    def send(node: int) -> None:
        line = lines_of(1, METRICS_A_RUN, first=steps[node], seed=node)
        named = [f"bench.{nodes * 10_000 + node * RUNS_A_NODE + run + 1}" for run in range(RUNS_A_NODE)]
        parts = [
            ({"type": "lines", "folder": folder, "writer": f"w{node}", "offset": offset, "user": "alice"}, line)
            for folder, offset in zip(named, offsets[node], strict=True)
        ]
        offsets[node] = [held["offset"] for held in agents[node].send(parts, present=named)]
        steps[node] += 1

    Swarm(send, nodes, EVERY_S).run(EVERY_S * 2)  # the runs are made
    swarm = Swarm(send, nodes, EVERY_S)
    before_s = family_cpu_s(server.pid)
    swarm.run(duration_s)
    used_s = family_cpu_s(server.pid) - before_s
    took_ms = np.array(swarm.took_s) * 1000
    half = len(took_ms) // 2
    row: Row = {
        "": f"{kind}, {nodes:,} nodes",
        "minutes": round(duration_s / 60, 1),
        "requests": len(took_ms),
        "p50 ms": float(np.percentile(took_ms, 50)),
        "p99 ms": float(np.percentile(took_ms, 99)),
        "max ms": float(took_ms.max()),
        "p99 of the second half ms": float(np.percentile(took_ms[half:], 99)),
        "ms of the server's processors a request": used_s / len(took_ms) * 1000,
        "bar p99 ms": 250.0,
    }
    return _told(row)


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
            "p99 ms": float(np.percentile(values, 99)) * 1000,
        }
        for name, values in took.items()
    ]
    return [_told(row) for row in rows]
