"""Finding runs: a page as people and programs ask for it, of 20 params and 30 metrics a run."""

from __future__ import annotations

import http.client
import io
import json
import random
import sqlite3
import time
import uuid
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import numpy
import psycopg2

from bench._figures import Row, Table, median, progress
from bench._servers import Server, each_kind, new_database, place, tracker_server
from lab.place import LabError
from tracker.store import tokens
from tracker.store.database import Database

if TYPE_CHECKING:
    from bench.server import Asked

SIZES = (10_000, 100_000)
ROUNDS = 40
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
BEYOND = {
    "by a metric's mean": {"order_by": "mean(metrics.loss)"},
    "by two fields": {"order_by": "params.lr, metrics.loss"},
}
DEEP_PAGES = 20
METRICS = ("loss", "accuracy", "val/loss", "val/accuracy", "epoch", *(f"metric_{number:02}" for number in range(25)))
EXPERIMENTS = 50
RUNS_A_CHUNK = 2000
NEWEST_US = 1_780_000_000_000_000
YEAR_US = 31_536_000_000_000
COLUMNS = {
    "runs": "id experiment_id name user account partition created_at updated_at state state_source accounting_due "
    "submitted_at started_at ended_at time_limit_s cluster job_id restarts gpus_requested work_dir command results_due",
    "attempts": "run_id number started_at ended_at restarts state nodes",
    "gpus": "run_id attempt node index uuid type",
    "params": "run_id key value number",
    "tags": "run_id key value",
    "results": "run_id metric last min max",
    "summaries": "run_id metric last last_step last_restarts last_rank last_time_us min max total spread finite_count "
    "count",
}
Rows = dict[str, list[tuple[Any, ...]]]


def measure(asked: Asked) -> list[Table]:
    """Pages and what goes beyond pages, at each size and on each database."""
    pages, beyond = list[Row](), list[Row]()
    sizes = SIZES[:1] if asked.quick else SIZES
    with place() as folder, each_kind(folder, asked.kinds) as databases:
        for kind, database in databases.items():
            for size in sizes:
                url = _of_size(database, size)
                progress(f"  {kind}: {size:,} runs are put in")
                made = Database(url)
                made.upgrade()
                fill(url, size)
                with tracker_server(folder / f"{kind}-{size}", url) as server:
                    progress(f"  {kind}: {size:,} runs, {ROUNDS} rounds")
                    pages += _pages(f"{kind}, {size:,} runs", server, made)
                    beyond += _beyond(f"{kind}, {size:,} runs", server)
                made.close()
    title = f"A page of 50 runs through HTTP, {len(PAGES)} filters and orders and a page {DEEP_PAGES} pages deep"
    return [Table(title, pages), Table("What reads all runs", beyond)]


def _of_size(database: str, size: int) -> str:
    if database.startswith("postgresql"):
        server = database.rpartition("/")[0]
        return new_database(server, f"runs_{size}")
    return database.replace("tracker.db", f"runs-{size}.db")


def _pages(name: str, server: Server, database: Database) -> Iterator[Row]:
    """For each kind of viewer all pages together, and the slowest of them alone."""
    for who, (user, role) in WHO.items():
        with database.write() as session:
            token = tokens.create(session, user, role, tokens.API, timedelta(hours=1))
        client = Client(server.port, token)
        took: dict[str, list[float]] = {page: [] for page in (*PAGES, "deep")}
        deep = client.cursor({"order_by": "metrics.loss"}, DEEP_PAGES)
        for number in range(ROUNDS + 1):
            for page, query in (*PAGES.items(), ("deep", {"order_by": "metrics.loss", **deep})):
                took_ms = client.page_ms(query)
                took[page] += [took_ms] if number else []  # the first round opens files
        every = [one for values in took.values() for one in values]
        slowest = max(took, key=lambda page: p95(took[page]))
        yield {
            "": f"{name}, sees {who}", "n": len(every), "p50 ms": median(every), "p95 ms": p95(every),
            "slowest": slowest, "its p50 ms": median(took[slowest]), "its p95 ms": p95(took[slowest]),
        }  # fmt: skip


def _beyond(name: str, server: Server) -> Iterator[Row]:
    client = Client(server.port, server.admin)
    for page, query in BEYOND.items():
        yield _alone(f"{name}, {page}", [client.page_ms(query) for _ in range(5)])
    groups = {"group_by": "params.lr", "metric": "loss"}
    yield _alone(f"{name}, groups of a param", [client.page_ms(groups, "/runs:groups") for _ in range(5)])
    yield _alone(f"{name}, experiments", [client.page_ms({}, "/experiments") for _ in range(5)])


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


def fill(url: str, runs: int) -> None:
    """Put so many runs of 20 params and 30 metrics into an empty database with our tables, the same ones each time."""
    store = _Postgres(url) if url.startswith("postgresql") else _Sqlite(url)
    store.put("experiments", "id name created_at", [(f"e{number}", f"experiment-{number}", NEWEST_US - YEAR_US)
              for number in range(EXPERIMENTS)])  # fmt: skip
    for rows in _chunks(runs):
        for table, columns in COLUMNS.items():
            store.put(table, columns, rows[table])
    store.finish()


def _chunks(runs: int) -> Iterator[Rows]:
    chance, numbers = random.Random(4), numpy.random.default_rng(4)
    for first in range(0, runs, RUNS_A_CHUNK):
        rows: Rows = {table: [] for table in COLUMNS}
        count = min(RUNS_A_CHUNK, runs - first)
        values = numbers.normal(1.0, 0.3, (count, len(METRICS)))
        for number in range(count):
            _add(rows, first + number, runs, chance, values[number].tolist())
        yield rows


def _add(rows: Rows, number: int, runs: int, chance: random.Random, values: Sequence[float]) -> None:
    created_us = NEWEST_US - YEAR_US + YEAR_US * number // runs
    run_id = _time_ordered(created_us, chance)
    is_live = number % 100 == 0  # of any age, which is harder than the newest
    state = "RUNNING" if is_live else chance.choices(("COMPLETED", "FAILED", "TIMEOUT"), (90, 8, 2))[0]
    ended_us = None if is_live else created_us + chance.randrange(60, 90_000) * 1_000_000
    user = chance.choices(("anna", "bob", "carol", "dan"), (50, 10, 1, 0.05))[0]
    if number % 3 == 0:
        user = f"user{number % 300}"
    rows["runs"].append((
        run_id, f"e{number % EXPERIMENTS}", f"train-{number % 977}", user, "lab", "gpu", created_us,
        ended_us or created_us, state, "accounting", False, created_us, created_us, ended_us, 86_400, "dev", number,
        0, 1, "/home/user/project", "/home/user/project/train.sh", is_live,
    ))  # fmt: skip
    rows["attempts"].append((run_id, 1, created_us, ended_us, 0, state, f"n{number % 64}"))
    rows["gpus"].append((run_id, 1, f"n{number % 64}", 0, f"GPU-{number % 64}", "a100"))
    rows["params"] += [(run_id, key, str(value), None if isinstance(value, str) else float(value))
                       for key, value in _params(number, chance).items()]  # fmt: skip
    rows["tags"] += [(run_id, "stage", chance.choice(("draft", "final", "sweep-1", "sweep-2"))), (run_id, "team", user)]
    for metric, value in zip(METRICS, values):
        last = None if chance.random() < 0.01 else (100.0 if metric == "epoch" else value)
        rows["summaries"].append(
            (run_id, metric, last, 9999, 0, 0, created_us, value - 0.5, value + 2, value * 1e4, 2500.0, 10_000, 10_000)
        )
        if not is_live:
            rows["results"].append((run_id, metric, last, value - 0.5, value + 2))


def _params(number: int, chance: random.Random) -> dict[str, float | int | str]:
    return {
        "lr": chance.choice((0.1, 0.03, 0.01, 0.003, 0.001, 0.0003, 0.0001, 3e-05)),
        "batch_size": chance.choice((16, 32, 64, 128, 256)),
        "optimizer": chance.choices(("adam", "adamw", "sgd", "lion"), (40, 40, 19, 1))[0],
        "model": f"net-{chance.randrange(40)}",
        "seed": number,
        "dropout": chance.randrange(60) / 100,
        "weight_decay": 10 ** chance.uniform(-6, -1),
        "data": f"/data/set-{chance.randrange(12)}/train",
        **{f"option_{one:02}": chance.randrange(10) for one in range(12)},
    }


def _time_ordered(at_us: int, chance: random.Random) -> str:
    """A UUID of version 7."""
    bits = (at_us // 1000) << 80 | 7 << 76 | chance.getrandbits(12) << 64 | 2 << 62 | chance.getrandbits(62)
    return str(uuid.UUID(int=bits))


class _Postgres:
    def __init__(self, url: str) -> None:
        self._connection = psycopg2.connect(url)

    def put(self, table: str, columns: str, rows: Sequence[tuple[Any, ...]]) -> None:
        lines = ("\t".join("\\N" if one is None else str(one) for one in row) for row in rows)
        names = ", ".join(f'"{name}"' for name in columns.split())
        with self._connection.cursor() as cursor:
            cursor.copy_expert(f"COPY {table} ({names}) FROM STDIN", io.StringIO("\n".join(lines) + "\n"))

    def finish(self) -> None:
        self._connection.commit()
        self._connection.autocommit = True
        self._connection.cursor().execute("VACUUM ANALYZE")
        self._connection.close()


class _Sqlite:
    def __init__(self, url: str) -> None:
        self._connection = sqlite3.connect(url.removeprefix("sqlite:///"))
        self._connection.execute("PRAGMA synchronous = OFF")

    def put(self, table: str, columns: str, rows: Sequence[tuple[Any, ...]]) -> None:
        names = [f'"{name}"' for name in columns.split()]
        places = ", ".join("?" * len(names))
        self._connection.executemany(f"INSERT INTO {table} ({', '.join(names)}) VALUES ({places})", rows)

    def finish(self) -> None:
        self._connection.commit()
        self._connection.close()
