"""Databases full of runs of 20 params and 30 metrics, straight into our tables, the same ones each time.

A block of runs is made here; the database copies what is wide of it, params and metrics, to the runs of all other
blocks, with other seeds and slightly other values. Indexes are made at the end, as they are quickest made.
"""

from __future__ import annotations

import io
import random
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy
from sqlalchemy import Connection, Engine, create_engine, text

from bench._figures import progress
from tracker.store.tables import Table

METRICS = ("loss", "accuracy", "val/loss", "val/accuracy", "epoch", *(f"metric_{number:02}" for number in range(25)))
EXPERIMENTS = 50
RUNS_A_BLOCK = 10_000
NEWEST_US = 1_780_000_000_000_000
YEAR_US = 31_536_000_000_000
_NARROW = {
    "runs": "id experiment_id name user account partition created_at updated_at state state_source accounting_due "
    "submitted_at started_at ended_at time_limit_s points_kept cluster job_id restarts gpus_requested work_dir command "
    "results_due",
    "attempts": "run_id number started_at ended_at restarts state nodes",
    "gpus": "run_id attempt node index uuid type",
    "tags": "run_id key value",
}
_WIDE = {
    "params": "run_id key value number",
    "results": "run_id metric last min max",
    "summaries": "run_id metric last last_step last_restarts last_rank last_time_us min max total spread finite_count "
    "count",
}
_OTHER = {
    "value": "CASE key WHEN 'seed' THEN CAST(CAST(value AS INTEGER) + {shift} AS TEXT) ELSE value END",
    "number": "CASE key WHEN 'seed' THEN number + {shift} ELSE number END",
    **{name: f"CASE metric WHEN 'epoch' THEN {name} ELSE {name} * {{factor}} END" for name in ("last", "min", "max")},
}
Rows = dict[str, list[tuple[Any, ...]]]


def fill(url: str, runs: int) -> None:
    """Put so many runs into an empty database with our tables."""
    driver = url.replace("postgresql://", "postgresql+psycopg2://")
    engine = create_engine(driver)
    with _hurried(engine) as connection, _indexed_at_the_end(connection):
        experiments = [(f"e{number}", f"experiment-{number}", NEWEST_US - YEAR_US) for number in range(EXPERIMENTS)]
        _put(connection, "experiments", "id name created_at", experiments)
        first = list[str]()
        for block in range(-(-runs // RUNS_A_BLOCK)):
            count = min(RUNS_A_BLOCK, runs - block * RUNS_A_BLOCK)
            rows, ids = narrow(block, count, runs)
            for table, columns in _NARROW.items():
                _put(connection, table, columns, rows[table])
            if block == 0:
                _first_block(connection, ids)
                first = ids
            else:
                _copy(connection, block, list(zip(first, ids)))
            connection.commit()
            if (block + 1) % 10 == 0:
                progress(f"    {block * RUNS_A_BLOCK + count:,} runs")
    engine.dispose()


@contextmanager
def _hurried(engine: Engine) -> Iterator[Connection]:
    """A connection that writes as quickly as it can and looks at no foreign keys; the database knows itself after."""
    with engine.connect() as connection:
        is_sqlite = engine.name == "sqlite"
        for one in _HURRY_SQLITE if is_sqlite else _HURRY_POSTGRESQL:
            connection.exec_driver_sql(one)
        connection.commit()
        yield connection
    if not is_sqlite:
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("VACUUM ANALYZE")


_HURRY_SQLITE = ("PRAGMA journal_mode = OFF", "PRAGMA synchronous = OFF", "PRAGMA cache_size = -400000",
                 "PRAGMA threads = 2")  # fmt: skip
_HURRY_POSTGRESQL = ("SET session_replication_role = replica", "SET synchronous_commit = off", "SET work_mem = '256MB'",
                     "SET maintenance_work_mem = '1GB'")  # fmt: skip


@contextmanager
def _indexed_at_the_end(connection: Connection) -> Iterator[None]:
    indexes = [one for name in (*_NARROW, *_WIDE) for one in Table.metadata.tables[name].indexes]
    for index in indexes:
        index.drop(connection)
    connection.commit()
    yield
    for index in indexes:
        index.create(connection)
    connection.commit()


def _first_block(connection: Connection, ids: Sequence[str]) -> None:
    rows = wide(ids)
    for table, columns in _WIDE.items():
        _put(connection, table, columns, rows[table])
        connection.exec_driver_sql(f"CREATE TEMP TABLE first_{table} AS SELECT * FROM {table}")
    connection.exec_driver_sql("CREATE TEMP TABLE copied (old VARCHAR(36) PRIMARY KEY, new VARCHAR(36))")


def _copy(connection: Connection, block: int, pairs: Sequence[tuple[str, str]]) -> None:
    """Give runs the params and metrics of those of the first block."""
    connection.exec_driver_sql("DELETE FROM copied")
    _put(connection, "copied", "old new", pairs)
    values = {"shift": block * RUNS_A_BLOCK, "factor": 1 + block * 1e-6}
    for table, columns in _WIDE.items():
        _, *names = columns.split()
        chosen = ", ".join(_OTHER.get(name, f'"{name}"').format(**values) for name in names)
        into = ", ".join(f'"{name}"' for name in ("run_id", *names))
        connection.execute(text(
            f"INSERT INTO {table} ({into}) SELECT new, {chosen} "
            f"FROM first_{table} CROSS JOIN copied WHERE copied.old = first_{table}.run_id"
        ))  # fmt: skip


def _put(connection: Connection, table: str, columns: str, rows: Sequence[tuple[Any, ...]]) -> None:
    names = ", ".join(f'"{name}"' for name in columns.split())
    raw: Any = connection.connection.dbapi_connection
    if connection.engine.name == "sqlite":
        places = ", ".join("?" * len(columns.split()))
        raw.executemany(f"INSERT INTO {table} ({names}) VALUES ({places})", rows)
        return
    copy(raw, f"{table} ({names})", rows)


def copy(connection: Any, into: str, rows: Sequence[tuple[Any, ...]]) -> None:
    """Put rows into a table of PostgreSQL."""
    lines = ("\t".join("\\N" if one is None else str(one) for one in row) for row in rows)
    with connection.cursor() as cursor:
        cursor.copy_expert(f"COPY {into} FROM STDIN", io.StringIO("\n".join(lines) + "\n"))


def narrow(block: int, count: int, runs: int) -> tuple[Rows, list[str]]:
    """The runs of a block, oldest first, without params and metrics, and their ids."""
    rows: Rows = {table: [] for table in _NARROW}
    chance, ids = random.Random(block), []
    for number in range(block * RUNS_A_BLOCK, block * RUNS_A_BLOCK + count):
        created_us = NEWEST_US - YEAR_US + YEAR_US * number // runs
        ids.append(_time_ordered(created_us, chance))
        _add(rows, ids[-1], number, created_us, chance)
    return rows, ids


def _add(rows: Rows, run_id: str, number: int, created_us: int, chance: random.Random) -> None:
    is_live = _is_live(number)
    state = "RUNNING" if is_live else chance.choices(("COMPLETED", "FAILED", "TIMEOUT"), (90, 8, 2))[0]
    ended_us = None if is_live else created_us + chance.randrange(60, 90_000) * 1_000_000
    user = chance.choices(("anna", "bob", "carol", "dan"), (50, 10, 1, 0.05))[0]
    if number % 3 == 0:
        user = f"user{number % 300}"
    rows["runs"].append((
        run_id, f"e{number % EXPERIMENTS}", f"train-{number % 977}", user, "lab", "gpu", created_us,
        ended_us or created_us, state, "accounting", False, created_us, created_us, ended_us, 86_400, "all", "dev",
        number, 0, 1, "/home/user/project", "/home/user/project/train.sh", is_live,
    ))  # fmt: skip
    rows["attempts"].append((run_id, 1, created_us, ended_us, 0, state, f"n{number % 64}"))
    rows["gpus"].append((run_id, 1, f"n{number % 64}", 0, f"GPU-{number % 64}", "a100"))
    rows["tags"] += [(run_id, "stage", chance.choice(("draft", "final", "sweep-1", "sweep-2"))), (run_id, "team", user)]


def _is_live(number: int) -> bool:
    return number % 100 == 0  # of any age, which is harder than the newest


def wide(ids: Sequence[str]) -> Rows:
    """Params, results and summaries of the first runs."""
    rows: Rows = {table: [] for table in _WIDE}
    chance, values = random.Random(5), numpy.random.default_rng(4).normal(1.0, 0.3, (len(ids), len(METRICS)))
    for number, run_id in enumerate(ids):
        rows["params"] += [(run_id, key, str(value), None if isinstance(value, str) else float(value))
                           for key, value in _params(number, chance).items()]  # fmt: skip
        for metric, value in zip(METRICS, values[number].tolist()):
            last = None if chance.random() < 0.01 else (100.0 if metric == "epoch" else value)
            least, most = value - 0.5, value + 2
            rows["summaries"].append(
                (run_id, metric, last, 9999, 0, 0, NEWEST_US, least, most, value * 1e4, 2500.0, 10_000, 10_000)
            )
            if not _is_live(number):
                rows["results"].append((run_id, metric, last, least, most))
    return rows


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
