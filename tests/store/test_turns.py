"""Several processes write to one SQLite, and none of them waits for long beside the others."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from tests.conftest import ROOT
from tracker.store.database import Database

BUSY = """
import sys, time
from sqlalchemy import text
from tracker.store.database import Database
db = Database(sys.argv[1])
while True:
    with db.write() as session:
        session.execute(text("UPDATE written SET times = times + 1"))
        print(flush=True)
        time.sleep(float(sys.argv[2]))
"""


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    found = Database(f"sqlite:///{tmp_path}/tracker.db")
    with found.write() as session:
        session.execute(text("CREATE TABLE written (times INTEGER)"))
        session.execute(text("INSERT INTO written VALUES (0)"))
    yield found
    found.close()


def busy(database: Database, holds_s: float = 0.005) -> subprocess.Popen[bytes]:
    """A process that always has something to write; it has begun."""
    command = [sys.executable, "-c", BUSY, database.url, str(holds_s)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert process.stdout is not None
    process.stdout.readline()
    return process


def end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    assert process.stdout is not None
    process.stdout.close()


def times(database: Database) -> int:
    """How often others have written, told within our own turn."""
    with database.write() as session:
        return int(session.scalar(text("SELECT times FROM written")) or 0)


def test_who_waits_comes_after_few_turns_of_others_that_always_write(database: Database) -> None:
    """By SQLite's own way to wait it would be some fifty turns of theirs to one of ours."""
    others = [busy(database) for _ in range(2)]
    try:
        before = times(database)
        for _ in range(30):
            after = times(database)
        assert 0 < after - before < 30 * 12
    finally:
        for process in others:
            end(process)


def test_the_turn_of_a_process_that_was_killed_is_over(database: Database) -> None:
    holder = busy(database, holds_s=3600)
    end(holder)
    assert times(database) == 0  # what it had not stored yet is undone
