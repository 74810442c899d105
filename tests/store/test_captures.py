"""What scripts told of themselves: kept once each, read back whole, and harmless whatever was told."""

from __future__ import annotations

import json
import uuid
from datetime import datetime, timezone
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import select

from tests.agent_side import ADMIN, Agent, hook, lines
from tracker.actions.read_lines import read_lines
from tracker.store import captures, params, runs, twins
from tracker.store.database import Database
from tracker.store.tables import Capture, Table

COMMIT = "0123456789abcdef0123456789abcdef01234567"
TOLD = {
    "argv": ["python", "-u", "train.py", "--lr", "0.1"],
    "cwd": "/home/alice",
    "git": {"commit": COMMIT, "branch": "main", "dirty": True, "diff": "+ü\r\n", "changed": ["M train.py"]},
    "packages": ["numpy==2.0", "torch==2.5"],
    "env": {"OMP_NUM_THREADS": "4"},
    "host": {"name": "n1", "cpus": 8},
}
EVENT = {"event": "capture", "version": 1, "attempt": 2, "time": 1.7e9, **TOLD}


def found(db: Database, run: str = "dev:12") -> list[captures.Captured]:
    with db.read() as session:
        return captures.find(session, runs.get(session, ADMIN, run))


def test_what_was_told_comes_back_as_it_was(db: Database) -> None:
    agent = Agent(db)
    agent.send(lines("dev.12", EVENT))
    (one,) = found(db)
    assert (one.writer, one.attempt, one.content) == ("w1", 2, TOLD)
    assert one.captured_at == datetime.fromtimestamp(1.7e9, tz=timezone.utc)
    with db.read() as session:
        (head,) = captures.heads(session, runs.get(session, ADMIN, "dev:12"))
    assert (head.program, head.branch, head.commit, head.dirty) == ("train.py", "main", COMMIT, True)
    assert "content" not in head.__dict__


def test_each_writer_has_one_and_a_run_has_twenty(db: Database) -> None:
    agent = Agent(db)
    agent.send(*(lines("dev.12", {**EVENT, "time": 1.7e9 + n}, EVENT, writer=f"w{n:02}") for n in range(25)))
    assert [one.writer for one in found(db)] == [f"w{n:02}" for n in range(captures.MOST_CAPTURES)]
    with db.read() as session:
        notes = {one.key: one.reason for one in params.notes(session, runs.get(session, ADMIN, "dev:12"))}
    assert notes == {"capture": "the run has 20 captures already"}


def test_captures_follow_when_two_runs_turn_out_to_be_one(db: Database) -> None:
    agent = Agent(db)
    agent.send(lines("dev.12", EVENT), lines("dev.13", {**EVENT, "attempt": 1}, writer="other"))
    with db.write() as session:
        into, newer = (runs.get(session, ADMIN, f"dev:{job}") for job in (12, 13))
        twins.absorb(session, [(newer, into)])
    assert sorted(one.attempt for one in found(db)) == [1, 2]


def test_a_deleted_run_shows_none_and_its_row_takes_them_with_it(db: Database) -> None:
    Agent(db).send(lines("dev.12", EVENT))
    with db.write() as session:
        session.delete(runs.get(session, ADMIN, "dev:12"))
    with db.read() as session:
        assert session.scalars(select(Capture)).all() == []


@pytest.mark.parametrize(
    "told",
    [
        {"argv": "x", "git": [], "script": 3, "env": {"a": 1, "b": None, "c": "ok"}, "packages": {"a": 1}},
        {"argv": [1, None, [], "ok"], "git": {"commit": "HEAD", "dirty": "yes", "branch": {}, "diff": ["x"]}},
        {"attempt": -1, "time": "now", "git": {"commit": COMMIT.upper()}, "host": {"cpus": 1e300}},
        {"attempt": 2**70, "argv": ["\0", "a\0b"], "env": {"\0": "x", "n\0": "y\0"}},
        {"argv": ["x" * 500_000, "y"], "modules": ["m"] * 100_000},
        {"git": {"changed": ["M " + "x" * 10_000] * 50}, "notes": [{"deep": [[[[]]]]}] * 1000},
    ],
)
def test_nothing_that_is_told_breaks_the_door(db: Database, told: dict[str, Any]) -> None:
    raw = json.dumps({"event": "capture", **told}).encode()
    answer = Agent(db).send(lines("dev.12", raw, {"metrics": {"after": 1}}))
    assert "error" not in answer["parts"][0]
    (one,) = found(db)
    assert one.attempt == 1
    assert "\0" not in str(one.content)
    with db.read() as session:
        assert [metric.metric for metric in runs.get(session, ADMIN, "dev:12").summary] == ["after"]


def test_texts_are_cut_to_size() -> None:
    told = {"event": "capture", "argv": ["x" * 100_000], "packages": ["p" * 1000] * 3, "env": {"A": "v" * 10_000}}
    said = read_lines(json.dumps(told).encode() + b"\n")
    assert said.capture is not None
    content = said.capture["content"]
    assert (len(content["argv"][0]), len(content["packages"][0]), len(content["env"]["A"])) == (20_000, 300, 4000)


def test_the_tables_are_those_that_the_migrations_make(db: Database) -> None:
    with db.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": False})
        named = [one for one in compare_metadata(context, Table.metadata) if "captures" in str(one)]
    assert named == []


def test_an_attempt_that_began_before_is_kept_beside_the_next(db: Database) -> None:
    agent = Agent(db)
    agent.send(hook("prolog", 12, at=1.7e9), lines("dev.12", {**EVENT, "attempt": 1}, writer=uuid.uuid4().hex))
    agent.send(lines("dev.12", {**EVENT, "time": 1.7e9 + 60}, writer=uuid.uuid4().hex))
    assert [one.attempt for one in found(db)] == [1, 2]
