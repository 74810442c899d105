"""A database that was filled in an older form goes on in the newest one."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, text

from tests.agent_side import ADMIN, Agent, lines
from tracker.store import charts, levels, runs
from tracker.store.database import Database
from tracker.store.tables import Table, Writer

T0_US = 1_700_000_000_000_000


def _put(connection: Connection, table: str, **values: Any) -> None:
    names = ", ".join(f'"{name}"' for name in values)
    places = ", ".join(f":{name}" for name in values)
    connection.execute(text(f"INSERT INTO {table} ({names}) VALUES ({places})"), values)


def _packed(column: Sequence[int]) -> bytes:
    return zlib.compress(np.diff(np.array(column, np.int64), prepend=0).astype("<i8").tobytes(), 1)


def _old_run(connection: Connection, run: str, job: int, attempts: Sequence[int]) -> None:
    facts = {"experiment_id": "e", "state": "COMPLETED", "state_source": "accounting", "accounting_due": False}
    told = {"created_at": T0_US, "updated_at": T0_US, "restarts": len(attempts) - 1, "gpus_requested": 0}
    _put(connection, "runs", id=run, cluster="dev", job_id=job, **facts, **told)
    for number, start_s in enumerate(attempts, start=1):
        start_us = T0_US + start_s * 1_000_000
        _put(connection, "attempts", run_id=run, number=number, started_at=start_us, state="COMPLETED")


def _old_points(connection: Connection, run: str, writer: str, rank: int, steps: Sequence[int], from_s: int) -> None:
    told = {"offset_bytes": 10, "next_step": steps[-1] + 1, "rejected_lines": 0, "node": "n1", "rank": rank}
    _put(connection, "writers", run_id=run, name=writer, **told)
    times = [T0_US + (from_s + index) * 1_000_000 for index in range(len(steps))]
    values = zlib.compress(np.array(steps, "<f8").tobytes(), 1)
    columns = {"steps": _packed(steps), "times": _packed(times), "values": values}
    _put(connection, "segments", run_id=run, metric="loss", writer=writer, number=0, count=len(steps), **columns)


def _old_summary(connection: Connection, run: str, last_step: int, count: int) -> None:
    told = {"last": float(last_step), "last_step": last_step, "min": 0.0, "max": 9.0, "total": 45.0}
    _put(connection, "summaries", run_id=run, metric="loss", count=count, finite_count=count, **told)


def test_a_filled_database_of_the_first_form_is_brought_to_the_newest(database_url: str) -> None:
    database = Database(database_url)
    levels.upgrade(database_url, "0001")
    with database._writing.begin() as connection:
        _put(connection, "experiments", id="e", name="default", created_at=T0_US)
        _old_run(connection, "plain", 1, [0])
        _old_points(connection, "plain", "a", 3, range(5), 1)
        _old_summary(connection, "plain", 4, 5)
        _old_run(connection, "requeued", 2, [0, 100])
        _old_points(connection, "requeued", "a", 0, range(10), 1)
        _old_points(connection, "requeued", "b", 0, range(6, 9), 101)
        _put(
            connection,
            "writers",
            run_id="requeued",
            name="empty",
            offset_bytes=0,
            next_step=0,
            rejected_lines=0,
            rank=0,
        )
        _old_summary(connection, "requeued", 8, 13)
    database.upgrade()
    database.check()

    with database.read() as session:
        writer = session.get_one(Writer, ("requeued", "b"))
        assert (writer.kind, writer.restarts, writer.first_step) == ("script", 1, 6)
        assert session.get_one(Writer, ("requeued", "empty")).first_step is None
        found = charts.read(session, "requeued", "loss")
        assert (found.curve.x.tolist(), found.hidden) == (list(range(9)), 4)
        assert charts.read(session, "plain", "loss").curve.x.tolist() == list(range(5))
    header = {"event": "writer", "version": 1, "rank": 0, "restart_count": 2}
    Agent(database).send(
        lines("dev.1", {"metrics": {"loss": 7}, "step": 5}, writer="a", offset=10),
        lines("dev.2", header, {"metrics": {"loss": 8}}, writer="c"),
    )
    with database.read() as session:
        (plain,) = runs.get(session, ADMIN, "dev:1").summary
        (requeued,) = runs.get(session, ADMIN, "dev:2").summary
    assert (plain.last, plain.last_step, plain.count, plain.last_rank) == (7, 5, 6, 3)
    assert (requeued.last, requeued.last_step, requeued.count, requeued.last_restarts) == (8, 10, 14, 2)
    database.close()


def test_the_migrations_make_the_tables_that_the_code_knows(db: Database) -> None:
    with db.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Table.metadata) == []
