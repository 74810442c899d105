"""Runs can be spread: every large table's key begins with the run, and PostgreSQL's partitions change nothing."""

from __future__ import annotations

import re
import subprocess
from datetime import datetime, timedelta, timezone
from pathlib import Path

from sqlalchemy import UniqueConstraint, text

from tests.agent_side import ADMIN, Agent, lines, points
from tests.conftest import ROOT
from tests.postgres import Postgres
from tests.store.filled import fill, seen
from tracker.actions.prune import prune
from tracker.settings import Settings
from tracker.store import integrity, runs
from tracker.store.database import Database
from tracker.store.tables import Table

SMALL = {
    "accounts", "audit", "clocks", "clusters", "experiments", "signing_keys", "spent_credentials", "tokens", "waits",
}  # fmt: skip
"""Tables that do not grow with runs, and may be everywhere: a cluster's `waits` are bounded."""


def test_every_large_table_has_a_key_that_begins_with_the_run() -> None:
    for name, table in Table.metadata.tables.items():
        if name in SMALL:
            continue
        run = "id" if name == "runs" else "run_id"
        assert table.primary_key.columns.keys()[0] == run, name
        unique = [one for one in table.constraints if isinstance(one, UniqueConstraint)]
        assert all(run in one.columns for one in unique), name
        assert all(run in index.columns for index in table.indexes if index.unique), name


def test_the_way_to_several_machines_names_every_table_once() -> None:
    text = (ROOT / "docs" / "scaling.md").read_text().partition("## Several machines")[2]
    everywhere, spread = (
        re.findall(r"'(\w+)'", found) for found in re.findall(r"unnest\(ARRAY\[(.*?)\]\)", text, re.S)
    )
    assert (everywhere[-1], sorted(everywhere)) == ("runs", sorted({*SMALL, "runs"}))
    assert sorted(spread) == sorted({*Table.metadata.tables} - SMALL - {"runs"})


def test_a_partitioned_database_works_as_before(postgres: Postgres, tmp_path: Path) -> None:
    url = postgres.new_database()
    db = Database(url)
    db.upgrade()
    fill(db)
    before = seen(db)
    db.close()
    script = ROOT / "config" / "postgresql" / "partition.sql"
    words = ["psql", "-q", "-v", "ON_ERROR_STOP=1", "-v", "partitions=3", "-d", url, "-f", str(script)]
    told = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (told.returncode, told.stderr) == (0, "")
    assert seen(db) == before
    db.check()
    with db.read() as session:
        filled = session.execute(text("SELECT tableoid::regclass::text, count(*) FROM summaries GROUP BY 1")).all()
        assert {name for name, _ in filled} == {"summaries_0", "summaries_1", "summaries_2"}
        asked = "EXPLAIN SELECT * FROM segments WHERE run_id = 'x' AND metric = 'loss'"
        plan = "\n".join(session.scalars(text(asked)))
        assert sum(f"segments_{number}" in plan for number in range(3)) == 1  # others need not be looked into

    agent, offset = Agent(db), 0
    for first in range(0, 300, 50):
        offset = agent.send(lines("dev.77", *points(50, first=first), offset=offset))["parts"][0]["offset"]
    assert agent.send(lines("dev.77", *points(50)))["parts"][0] == {"offset": offset}
    with db.write() as session:
        run = runs.get(session, ADMIN, "dev:77")
        assert run.summary[0].count == 300
        run.state, run.deleted_at = "COMPLETED", datetime.now(timezone.utc)
    later = datetime.now(timezone.utc) + timedelta(days=365)
    assert prune(db, Settings(), later, dry_run=False, report=lambda _what, _done: None).purged_runs == 2
    found = list(integrity.check(db, None, lambda _what, _done: None))
    assert [one.problems for one in found] == [[]] * len(found)
    assert seen(db) == before
    db.close()
    postgres.drop(url)
