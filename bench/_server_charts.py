"""Charts and reading back: how long they take, how that grows, and what a point takes on the disk."""

from __future__ import annotations

import http.client
import json
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np
from sqlalchemy import text

import tracker
from bench._figures import Row, Table, median, progress
from bench._growth import Growth
from bench._mlflow import beside, chart_path, filled_runs
from bench._peers import NO_NETWORK, peers_python
from bench._servers import Server, each_kind, family_cpu_s, place, tracker_server
from tests.web.samples import add_run
from tracker.store import batches, compaction
from tracker.store.database import Database, Session
from tracker.store.points import Points
from tracker.store.tables import Writer

if TYPE_CHECKING:
    from bench.server import Asked

SIZES = (100_000, 1_000_000, 10_000_000)
MANY, MANY_POINTS, MANY_TO = (1, 10, 100), 100_000, 320
PEERS_ASKS = 5  # a second or two each
BATCHES_OF = 5_000
T0_US = 1_780_000_000_000_000
COSTS = ("p50, ms", "CPU of the server a request, ms")


def measure(asked: Asked) -> list[Table]:
    """Charts, all points read back, bytes a point, and how all that grows."""
    sizes, many = (SIZES[:2], MANY[:2]) if asked.quick else (SIZES, MANY)
    requests = 10 if asked.quick else 60
    charts, raw, kept = list[Row](), list[Row](), list[Row]()
    of_points, of_runs = Growth("points"), Growth("runs")
    with place() as folder, each_kind(folder, asked.kinds) as databases:
        for kind, url in databases.items():
            runs, together = _filled(kind, url, sizes, many[-1], kept)
            with tracker_server(folder / kind, url) as server:
                for size in sizes:
                    progress(f"  {kind}: charts of {size:,} points")
                    path = f"/api/v1/runs/{runs[size]}/series?metric=loss&max_points=1000"
                    name = f"{kind}, {size:,} points to 1,000"
                    charts.append(_asked(name, server, requests, path))
                    of_points.add(f"{kind}, a chart", size, charts[-1], *COSTS)
                    charts.append(_asked(f"{name} means with ranges", server, requests, f"{path}&thin=mean"))
                    of_points.add(f"{kind}, a chart of means", size, charts[-1], *COSTS)
                    raw.append(_read_back(f"{kind}, {size:,} points", server, runs[size], 5))
                    of_points.add(f"{kind}, read back", size, raw[-1], "median, ms")
                for count in many:
                    body = {"runs": together[:count], "metrics": ["loss"], "max_points": MANY_TO}
                    name = f"{kind}, {count} x {MANY_POINTS:,} points to {MANY_TO} each"
                    charts.append(_asked(name, server, requests, "/api/v1/series", body))
                    of_runs.add(f"{kind}, runs in a chart", count, charts[-1], *COSTS)
            if kind == "postgresql" and asked.peers:
                charts += [*_mlflow(folder, url), _trackio(folder)]
    return [
        Table(f"Charts through HTTP, {requests} requests each on a kept connection", charts),
        Table("All points of a series through `tracker.Api().run(id).series(...).to_numpy()`, median of 5", raw),
        Table(f"Compaction of batches of {BATCHES_OF:,} points, and what is kept of a noisy loss", kept),
        *of_points.tables("How that grows with a series"), *of_runs.tables("How that grows with the runs of a chart"),
    ]  # fmt: skip


def _filled(
    kind: str, url: str, sizes: Sequence[int], many: int, kept: list[Row]
) -> tuple[dict[int, str], list[str]]:  # fmt: skip
    """Fill an empty database; a run of each size, the runs for one request, and rows of what was kept."""
    db, runs = Database(url), dict[int, str]()
    db.upgrade()
    for size in sizes:
        progress(f"  {kind}: filled with series of {size:,} points")
        for precision in ("float32", "float64"):
            runs[size], row = _fill(kind, db, size, precision)
            kept.append(row)
    progress(f"  {kind}: filled with {many} runs of {MANY_POINTS:,} points")
    together = [_fill(kind, db, MANY_POINTS)[0] for _ in range(many)]
    db.close()
    return runs, together


def _mlflow(folder: Path, database: str) -> list[Row]:
    """The same charts of MLflow on the same PostgreSQL; of each run it answers so many points at the same steps."""
    with beside(folder, database) as (url, pid):
        rows = []
        for count, points, most in ((1, SIZES[1], 1_000), (MANY[1], MANY_POINTS, MANY_TO)):
            progress(f"  MLflow: {count} x {points:,} points")
            server = Server(urlsplit(url).port or 80, url, database, "", "", pid)
            path = chart_path(filled_runs(url, database, count, points), most)
            rows.append(_asked(f"MLflow, {count} x {points:,} points to {most:,}", server, PEERS_ASKS, path))
        return rows


def _trackio(folder: Path) -> Row:
    """The same chart of trackio, on SQLite and in its own process: no HTTP is counted."""
    progress(f"  trackio: {SIZES[1]:,} points")
    (folder / "trackio").mkdir()
    environ = {**NO_NETWORK, "PATH": "/usr/bin:/bin", "HOME": str(folder), "TRACKIO_DIR": str(folder / "trackio")}
    script = str(Path(__file__).with_name("_trackio_chart.py"))
    command = [str(peers_python()), script, str(SIZES[1]), "1000", str(PEERS_ASKS)]
    told = json.loads(subprocess.check_output(command, env=environ, text=True).splitlines()[-1])
    return {
        "": f"trackio, {SIZES[1]:,} points to 1,000, without HTTP", **_times(told["took_s"]),
        "CPU of the server a request, ms": told["cpu_s"] * 1e3, "answer, KB": told["answer_bytes"] / 1e3,
    }  # fmt: skip


def _times(took_s: Sequence[float]) -> Row:
    return {"p50, ms": median(took_s) * 1e3, "p95, ms": float(np.percentile(took_s, 95)) * 1e3}


def _points(count: int, first: int, seed: int, kind: str) -> Points:
    """A loss with noise, as Python computes it (`float64`) or as a network does (`float32`), about 20 ms apart."""
    chance = np.random.default_rng([seed, first])
    steps = np.arange(first, first + count)
    times_us = T0_US + first * 21_000 + np.cumsum(20_000 + np.abs(1_500 * chance.standard_normal(count)))
    values = 2.3 * np.exp(-steps / 300_000) + 0.12 + 0.03 * chance.standard_normal(count)
    return Points(steps, times_us.astype(np.int64), values.astype(kind).astype(np.float64))


def _fill(name: str, db: Database, count: int, kind: str = "float64") -> tuple[str, Row]:
    """A run with one series, brought in batches and compacted as a server does it."""
    with db.write() as session:
        run = add_run(session)
        writer = Writer(run_id=run.id, name="w", restarts=0, first_step=0, batches=0)
        session.add(writer)
        session.flush()
        for number, first in enumerate(range(0, count, BATCHES_OF)):
            points = _points(min(BATCHES_OF, count - first), first, count, kind)
            lines = np.arange(len(points), dtype=np.uint32)
            block = batches.Block(("loss",), lines, points.steps, points.times_us, points.values[np.newaxis])
            batches.add(session, [batches.Brought(run.id, "w", number, [block])])
    cpu_s = time.process_time()
    more = True
    while more:
        with db.write() as session:
            more = compaction.compact(session, run.id, "w")
    cpu_s = time.process_time() - cpu_s
    with db.read() as session:
        size_bytes, rows = _kept(session, run.id)
    return run.id, {
        "": f"{name}, {count:,} points of {kind}", "compaction, us of CPU a point": cpu_s / count * 1e6,
        "segments": rows, "bytes a point": size_bytes / count,
    }  # fmt: skip


def _kept(session: Session, run_id: str) -> tuple[int, int]:
    """Bytes and number of a run's segments; 200 bytes are counted for the rest of a row and the index."""
    columns = " + ".join(f"coalesce(length({name}), 0)" for name in ("points", "fine", "coarse"))
    query = f"SELECT sum({columns} + 200), count(*) FROM segments"
    size_bytes, rows = session.execute(text(f"{query} WHERE run_id = :run_id"), {"run_id": run_id}).one()
    return int(size_bytes), int(rows)


def _asked(name: str, server: Server, requests: int, path: str, body: dict[str, Any] | None = None) -> Row:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=120)
    headers = {"Authorization": f"Bearer {server.admin}", "Content-Type": "application/json"}
    sent = None if body is None else json.dumps(body)

    def ask() -> int:
        connection.request("GET" if sent is None else "POST", path, sent, headers)
        answer = connection.getresponse()
        raw = answer.read()
        assert answer.status == 200, raw[:500]
        return len(raw)

    size_bytes = max(ask() for _ in range(3))
    cpu_s, took_s = family_cpu_s(server.pid), [_timed(ask) for _ in range(requests)]
    cpu_s = family_cpu_s(server.pid) - cpu_s
    connection.close()
    return {
        "": name, **_times(took_s),
        "CPU of the server a request, ms": cpu_s / requests * 1e3, "answer, KB": size_bytes / 1e3,
    }  # fmt: skip


def _read_back(name: str, server: Server, run_id: str, rounds: int) -> Row:
    run = tracker.Api(server.url, server.admin).run(run_id)
    took_s = [_timed(lambda: run.series("loss").to_numpy()) for _ in range(rounds)]
    return {"": name, "median, ms": median(took_s) * 1e3, "MB": len(run.series("loss")) * 16 / 1e6}


def _timed(work: Callable[[], object]) -> float:
    began_s = time.perf_counter()
    work()
    return time.perf_counter() - began_s
