"""A server with many finished runs: filled in bulk, then asked for pages as people and programs ask."""

from __future__ import annotations

import io
import random
import sqlite3
import uuid
from collections.abc import Iterator, Sequence
from typing import Any

import numpy
from sqlalchemy import create_engine

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
    "summaries": "run_id metric last last_step last_restarts last_rank last_time_us min max total spread finite_count "
    "count",
}
Rows = dict[str, list[tuple[Any, ...]]]


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
        0, 1, "/home/user/project", "/home/user/project/train.sh", True,
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
        self._connection: Any = create_engine(url).raw_connection()

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
