"""Charts and reading back: how long they take, how that grows, and what a point takes on the disk."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from sqlalchemy import text

import tracker
from bench._figures import Row, Table, median, progress
from bench._servers import Server, each_kind, family_cpu_s, place, tracker_server
from tests.web.samples import add_run
from tracker.store import batches, compaction
from tracker.store.database import Database, Session
from tracker.store.points import Points
from tracker.store.tables import Writer

if TYPE_CHECKING:
    from bench.server import Asked

SIZES = (100_000, 1_000_000, 10_000_000)
MANY_RUNS, MANY_TO = 10, 320
BATCHES_OF = 5_000
T0_US = 1_780_000_000_000_000


def measure(asked: Asked) -> list[Table]:
    """Three tables: charts, all points read back, bytes a point."""
    sizes = SIZES[:2] if asked.quick else SIZES
    requests = 10 if asked.quick else 60
    charts, raw, kept = list[Row](), list[Row](), list[Row]()
    with place() as folder, each_kind(folder, asked.kinds) as databases:
        for kind, url in databases.items():
            runs = _filled(kind, url, sizes, kept)
            with tracker_server(folder / kind, url) as server:
                for size in sizes:
                    progress(f"  {kind}: charts of {size:,} points")
                    run_id = runs[size][0]
                    path = f"/api/v1/runs/{run_id}/series?metric=loss&max_points=1000"
                    charts.append(_asked(f"{kind}, {size:,} points to 1,000", server, requests, "GET", path))
                    raw.append(_read_back(f"{kind}, {size:,} points", server, run_id, 5))
                for size in (size // MANY_RUNS for size in sizes):
                    body = {"runs": runs[size][-MANY_RUNS:], "metrics": ["loss"], "max_points": MANY_TO}
                    name = f"{kind}, {MANY_RUNS} x {size:,} points to {MANY_TO} each"
                    charts.append(_asked(name, server, requests, "POST", "/api/v1/series", body))
    return [
        Table(f"Charts through HTTP, {requests} requests each on a kept connection", charts),
        Table("All points of a series through `tracker.Api().run(id).series(...).to_numpy()`, median of 5", raw),
        Table(f"Compaction of batches of {BATCHES_OF:,} points, and what is kept of a noisy loss", kept),
    ]  # fmt: skip


def _filled(kind: str, url: str, sizes: Sequence[int], kept: list[Row]) -> dict[int, list[str]]:
    """Fill an empty database; the ids of the runs by the number of their points, and rows of what was kept."""
    db, runs = Database(url), dict[int, list[str]]()
    db.upgrade()
    for size in sizes:
        progress(f"  {kind}: filled with series of {size:,} points")
        for _ in range(MANY_RUNS):
            run_id, _ = _fill(kind, db, size // MANY_RUNS)
            runs.setdefault(size // MANY_RUNS, []).append(run_id)
        for precision in ("float32", "float64"):
            run_id, row = _fill(kind, db, size, precision)
            kept.append(row)
        runs[size] = [run_id]
    db.close()
    return runs


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


def _asked(
    name: str, server: Server, requests: int, method: str, path: str, body: dict[str, Any] | None = None
) -> Row:  # fmt: skip
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=120)
    headers = {"Authorization": f"Bearer {server.admin}", "Content-Type": "application/json"}
    sent = None if body is None else json.dumps(body)

    def ask() -> int:
        connection.request(method, path, sent, headers)
        answer = connection.getresponse()
        raw = answer.read()
        assert answer.status == 200, raw[:500]
        return len(raw)

    size_bytes = max(ask() for _ in range(5))
    cpu_s, took_s = family_cpu_s(server.pid), [_timed(ask) for _ in range(requests)]
    cpu_s = family_cpu_s(server.pid) - cpu_s
    connection.close()
    return {
        "": name, "p50, ms": median(took_s) * 1e3, "p95, ms": float(np.percentile(took_s, 95)) * 1e3,
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
