"""A database with a little of everything in it, and ways to tell whether it is all still there."""

from __future__ import annotations

import time
import uuid
from datetime import datetime, timezone
from typing import Any

from sqlalchemy import Connection, MetaData, Table, select

from tests.actions.test_things import artifact, histogram, image
from tests.agent_side import ADMIN, Agent, hook, lines, points
from tests.store.test_captures import EVENT
from tests.web import samples
from tracker.store import charts, logs, runs, tokens
from tracker.store.database import Database, Session
from tracker.store.tables import Run

BESIDE = str(uuid.UUID(int=7))
Rows = list[dict[str, Any]]


def fill(db: Database) -> None:
    """What hooks, scripts, agents, the watcher and people leave behind."""
    with db.write() as session:
        shown = samples.busy_afternoon(session)
        samples.resumed_twice(session, ranks=2, steps=60)
        samples.print_output(session, shown["FAILED"], "a line\n" * 3000)
        runs.remove(shown["TIMEOUT"], datetime.now(timezone.utc))
        tokens.create(session, "alice", "user", tokens.API, None)
    now = time.time()
    given = {"params": {"lr": 0.1, "note": "ü" * 50}, "tags": {"stage": "draft"}}
    told = [{"event": kind, kind: what} for kind, what in given.items()]
    odd = {"metrics": {"loss": "NaN", "bound": "-Infinity"}, "step": 2**62, "time": now}
    said = [*told, *points(20), odd, image(), histogram(1), artifact(), EVENT]
    beside = lines("dev.12", *points(5), writer=f"run_{uuid.UUID(BESIDE).hex}_w1")
    Agent(db, skew_s=900).send(hook("prolog", 12, at=now - 900, SLURM_JOB_GPUS="0,2"), lines("dev.12", *said), beside)


def rows(connection: Connection) -> dict[str, Rows]:
    """All rows by table, as the database keeps them now, whatever its form is."""
    there = MetaData()
    there.reflect(connection)
    return {name: _rows(connection, table) for name, table in there.tables.items() if name != "alembic_version"}


def _rows(connection: Connection, table: Table) -> Rows:
    found = connection.execute(select(table).order_by(*table.primary_key)).mappings()
    return [{name: _plain(value) for name, value in row.items()} for row in found]


def _plain(value: object) -> object:
    return bytes(value) if isinstance(value, memoryview) else value


def seen(db: Database) -> dict[str, Any]:
    """What people see of it: runs with their details, curves, output."""
    with db.read() as session:
        found = runs.find(session, ADMIN, limit=1000).items
        return {run.id: one_seen(session, run) for run in found}


def one_seen(session: Session, run: Run) -> dict[str, Any]:
    """What people see of a run that was read with its details."""
    found = {one.metric: charts.read(session, run.id, one.metric, max_points=10_000) for one in run.summary}
    shown = {
        name: (chart.curve.x.tolist(), list(map(repr, chart.curve.y.tolist())), chart.hidden)
        for name, chart in found.items()
    }
    return {
        "facts": (run.state, run.name, run.user, run.experiment.name, run.job_id, run.started_at, run.ended_at),
        "params": {one.key: one.value for one in run.params},
        "tags": {one.key: one.value for one in run.tags},
        "attempts": [(one.number, one.nodes, [(gpu.node, gpu.index) for gpu in one.gpus]) for one in run.attempts],
        "summary": {one.metric: (one.last, one.last_step, one.min, one.max, one.count) for one in run.summary},
        "curves": shown,
        "output": [logs.tail(session, run.id, log.stream, 10_000).text for log in logs.ends(session, run.id, 0)[0]],
    }
