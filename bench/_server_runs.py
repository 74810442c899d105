"""Finding runs: a page as people and programs ask for it, of 20 params and 30 metrics a run."""

from __future__ import annotations

import http.client
import json
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import numpy

from bench._figures import Row, Table, median, progress, told
from bench._growth import Growth
from bench._mlflow import beside, fill_runs, search
from bench._runs_filled import fill
from bench._servers import (
    Server,
    bytes_of,
    drop,
    each_kind,
    family_cpu_s,
    new_database,
    place,
    postgresql_cpu_s,
    tracker_server,
)
from lab.place import LabError
from tracker.store import tokens
from tracker.store.database import Database

if TYPE_CHECKING:
    from bench.server import Asked

SIZES = (10_000, 100_000)
ROUNDS = 25
BYTES_A_RUN = 35_000
WHO = {"all runs": ("root", "admin"), "half of them": ("anna", "user"), "a twentieth of a percent": ("dan", "user")}
PAGES = {
    "newest first": {},
    "by a metric": {"order_by": "metrics.loss"},
    "by a metric's least, downwards": {"order_by": "min(metrics.metric_07) desc"},
    "by a metric that is alike": {"order_by": "metrics.epoch"},
    "by a param": {"order_by": "params.lr desc"},
    "a param =": {"filter": "params.lr = 0.01"},
    "a param = what few have": {"filter": "params.seed < 20"},
    "three params": {"filter": "params.optimizer = lion and params.lr > 0.05 and params.model = 'net-3'"},
    "three params of many, by a metric": {
        "filter": "params.optimizer = adam and params.batch_size = 32 and params.dropout < 0.05",
        "order_by": "metrics.accuracy desc",
    },
    "and, or, not": {
        "filter": "params.lr = 0.01 and not (state = FAILED or params.optimizer = sgd)", "order_by": "metrics.loss",
    },
    "like": {"filter": "params.data like '%set-7%'"},
    "a tag": {"filter": "tags.stage = final"},
    "a metric <, by itself": {"filter": "metrics.loss < 0.3", "order_by": "metrics.loss desc"},
    "a metric < what few have": {"filter": "metrics.loss < -0.1"},
    "one experiment, by a metric": {"experiment": "experiment-7", "order_by": "metrics.loss"},
}  # fmt: skip
MLFLOW_PAGES: dict[str, dict[str, Any]] = {
    "newest first": {"order_by": ["attributes.start_time DESC"]},
    "by a metric": {"order_by": ["metrics.loss ASC"]},
    "a param =": {"filter": "params.lr = '0.01'"},
    "three params, by a metric": {
        "filter": "params.optimizer = 'adam' and params.batch_size = '32' and params.dropout like '0.0%'",
        "order_by": ["metrics.accuracy DESC"],
    },
}
BEYOND = {
    "by a metric's mean": {"order_by": "mean(metrics.loss)"},
    "by two fields": {"order_by": "params.lr, metrics.loss"},
}
DEEP_PAGES = 20


def measure(asked: Asked) -> list[Table]:
    """Pages and what goes beyond pages, at each size and on each database."""
    pages, beyond, filled, growth = list[Row](), list[Row](), list[Row](), Growth("runs")
    sizes = asked.sizes or (SIZES[:1] if asked.quick else SIZES)
    rounds = 5 if asked.quick else ROUNDS
    with place() as folder, each_kind(folder, asked.kinds) as databases:
        _require_room(folder, max(sizes))
        for kind, database in databases.items():
            for size in sizes:
                name = f"{kind}, {size:,} runs"
                with _filled(name, database, size, filled) as made, tracker_server(folder / name, made.url) as server:
                    progress(f"  {kind}: {size:,} runs, {rounds} rounds")
                    for who, row in _pages(name, server, made, rounds):
                        pages.append(growth.add(f"{kind}, sees {who}", size, row, "p50 ms", "CPU of the server, ms"))
                    for what, row in _beyond(name, server):
                        beyond.append(growth.add(f"{kind}, {what}", size, row, "median ms"))
        peers = asked.peers and "postgresql" in databases
        of_mlflow = _mlflow(folder, databases["postgresql"], min(*sizes, 10_000), rounds) if peers else []
    title = f"A page of 50 runs through HTTP, {len(PAGES)} filters and orders and a page {DEEP_PAGES} pages deep"
    tables = [Table(title, pages), Table("What reads all runs", beyond), *growth.tables()]
    tables += [Table("MLflow's search on the same PostgreSQL, a page of 50 runs", of_mlflow)] if of_mlflow else []
    return [*tables, Table("How long it took to make the databases, and what they take on the disk", filled)]


def _require_room(folder: Path, runs: int) -> None:
    if shutil.disk_usage(folder).free < runs * BYTES_A_RUN:
        raise LabError(f"{runs:,} runs take {runs * BYTES_A_RUN / 1e9:,.0f} GB of disk: --sizes tells of less")


@contextmanager
def _filled(name: str, database: str, size: int, rows: list[Row]) -> Iterator[Database]:
    """A database with so many runs, which is removed afterwards, and a row of how it was made."""
    progress(f"  {name} are put in")
    url = _of_size(database, size)
    made = Database(url)
    made.upgrade()
    begun_s = time.monotonic()
    fill(url, size)
    took_s, size_bytes = time.monotonic() - begun_s, bytes_of(url)
    rows.append(told({"": name, "s": took_s, "GB": size_bytes / 1e9, "KB a run": size_bytes / 1e3 / size}))
    yield made
    made.close()
    drop(url)


def _of_size(database: str, size: int) -> str:
    if database.startswith("postgresql"):
        server = database.rpartition("/")[0]
        return new_database(server, f"runs_{size}")
    return database.replace("tracker.db", f"runs-{size}.db")


def _pages(name: str, server: Server, database: Database, rounds: int) -> Iterator[tuple[str, Row]]:
    """For each kind of viewer, by its name, all pages together, and the slowest of them alone."""
    for who, (user, role) in WHO.items():
        with database.write() as session:
            token = tokens.create(session, user, role, tokens.API, timedelta(hours=1))
        client = Client(server.port, token)
        took: dict[str, list[float]] = {page: [] for page in (*PAGES, "deep")}
        deep = client.cursor({"order_by": "metrics.loss"}, DEEP_PAGES)
        asked = {**PAGES, "deep": {"order_by": "metrics.loss", **deep}}
        for query in asked.values():  # the first round opens files
            client.page_ms(query)
        before_s, before_database_s = _cpu_s(server)
        for _ in range(rounds):
            for page, query in asked.items():
                took[page].append(client.page_ms(query))
        after_s, after_database_s = _cpu_s(server)
        every = [one for values in took.values() for one in values]
        slowest = max(took, key=lambda page: p95(took[page]))
        yield who, {
            "": f"{name}, sees {who}", "n": len(every), "p50 ms": median(every), "p95 ms": p95(every),
            "CPU of the server, ms": (after_s - before_s) * 1000 / len(every),
            "of PostgreSQL, ms": (after_database_s - before_database_s) * 1000 / len(every),
            "slowest": slowest, "its p50 ms": median(took[slowest]), "its p95 ms": p95(took[slowest]),
        }  # fmt: skip


def _cpu_s(server: Server) -> tuple[float, float]:
    is_postgresql = server.database.startswith("postgresql")
    return family_cpu_s(server.pid), postgresql_cpu_s(server.database) if is_postgresql else 0.0


def _mlflow(folder: Path, database: str, size: int, rounds: int) -> list[Row]:
    """What MLflow can be asked alike."""
    progress(f"  MLflow: {size:,} runs")
    with beside(folder, database) as (url, pid):
        fill_runs(database, size)
        rows = list[Row]()
        for page, query in MLFLOW_PAGES.items():
            search(url, query)
            before_s = family_cpu_s(pid)
            took = [search(url, query) for _ in range(rounds)]
            used_ms = (family_cpu_s(pid) - before_s) * 1000 / rounds
            rows.append(
                {"": f"{size:,} runs, {page}", "n": rounds, "p50 ms": median(took), "p95 ms": p95(took),
                 "CPU of the server, ms": used_ms}
            )  # fmt: skip
    return rows


def _beyond(name: str, server: Server) -> Iterator[tuple[str, Row]]:
    client = Client(server.port, server.admin)
    for page, query in BEYOND.items():
        yield page, _alone(f"{name}, {page}", [client.page_ms(query) for _ in range(5)])
    groups = {"group_by": "params.lr", "metric": "loss"}
    for what, path, query in (("groups of a param", "/runs:groups", groups), ("experiments", "/experiments", {})):
        yield what, _alone(f"{name}, {what}", [client.page_ms(query, path) for _ in range(5)])


def _alone(name: str, took_ms: list[float]) -> Row:
    return {"": name, "n": len(took_ms), "median ms": median(took_ms), "max ms": max(took_ms)}


def p95(values: Sequence[float]) -> float:
    """The value that 95 of 100 do not exceed."""
    return float(numpy.percentile(values, 95))


class Client:
    """A program that asks over a kept connection."""

    def __init__(self, port: int, token: str) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        self._headers = {"Authorization": f"Bearer {token}"}

    def ask(self, query: dict[str, str], path: str = "/runs") -> bytes:
        """The answer. Raises LabError when it is refused."""
        self._connection.request("GET", f"/api/v1{path}?{urlencode(query)}", headers=self._headers)
        answer = self._connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise LabError(f"{path} {query}: {answer.status} {body[:300]!r}")
        return body

    def page_ms(self, query: dict[str, str], path: str = "/runs") -> float:
        """How long an answer takes, in milliseconds."""
        begun_s = time.perf_counter()
        self.ask(query, path)
        return (time.perf_counter() - begun_s) * 1000

    def cursor(self, query: dict[str, str], pages: int) -> dict[str, str]:
        """Where so many pages end, or the last one begins."""
        found: dict[str, str] = {}
        for _ in range(pages):
            after = json.loads(self.ask({**query, **found}))["next_cursor"]
            if after is None:
                break
            found = {"cursor": after}
        return found
