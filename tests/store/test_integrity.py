"""What is broken in a database is found and told, and a whole one is told whole."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from sqlalchemy import select, text

from tests.actions.test_things import artifact
from tests.agent_side import Agent, lines
from tests.store.filled import fill
from tracker.store import compaction, integrity
from tracker.store.database import Database
from tracker.store.engine import make_upkeep_engine
from tracker.store.tables import Batch, Segment, Writer


def problems(db: Database, artifacts: Path | None = None) -> dict[str, list[str]]:
    return {one.check: one.problems for one in integrity.check(db, artifacts, lambda _what, _done: None)}


def fold_all(db: Database) -> None:
    with db.write() as session:
        for writer in session.scalars(select(Writer)):
            compaction.compact(session, writer.run_id, writer.name)


def test_a_whole_database_is_told_whole(db: Database, tmp_path: Path) -> None:
    fill(db)
    found = list(integrity.check(db, tmp_path, lambda _what, _done: None))
    assert [one.problems for one in found] == [[]] * len(found)
    assert {one.check: one.looked_at for one in found}["points"] > 20


def test_points_that_cannot_be_read_are_found(db: Database) -> None:
    fill(db)
    fold_all(db)
    with db.write() as session:
        one, other = session.scalars(select(Segment).where(Segment.metric == "loss").limit(2)).all()
        ids = (one.run_id, other.run_id)
        one.points = one.points[: len(one.points) // 2]
        other.count += 1
    told = problems(db)["points"]
    assert len(told) == 2
    assert all(any(run in line and "`loss`" in line for line in told) for run in ids)
    assert any("cannot be read: " in line and "of " in line for line in told)


def test_batches_that_cannot_be_read_are_found(db: Database) -> None:
    fill(db)
    with db.write() as session:
        batch = session.scalars(select(Batch).limit(1)).one()
        batch.content = batch.content[: len(batch.content) // 2]
    (told,) = problems(db)["points"]
    assert f"of run {batch.run_id} cannot be read: " in told


def test_rows_of_runs_that_are_not_there_are_found(db: Database) -> None:
    fill(db)
    engine = make_upkeep_engine(db.url, 10)
    with engine.connect().execution_options(tracker_write=True) as connection, connection.begin():
        if db.is_postgresql:
            connection.execute(text("SET session_replication_role = replica"))  # as where tables are spread
        connection.execute(text("UPDATE params SET run_id = 'nobody' WHERE key = 'note'"))
    engine.dispose()
    (told,) = problems(db)["orphans"]
    assert "in `params` are of runs that are not there" in told


def test_a_database_of_another_form_is_told(db: Database) -> None:
    with db.write() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '0001'"))
    assert list(problems(db)) == ["level"]


def test_a_damaged_file_is_found(db: Database, tmp_path: Path) -> None:
    if db.is_postgresql:
        return
    fill(db)
    with db.read() as session:  # in the middle of the file may be something that has no form
        page = session.scalar(text("SELECT rootpage FROM sqlite_master WHERE name = 'summaries'"))
    db.close()
    path = tmp_path / "tracker.db"
    assert not Path(f"{path}-wal").exists()
    with path.open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(os.urandom(4096))
    assert problems(db)["file"]


def test_copies_of_artifacts_that_are_gone_are_found(db: Database, tmp_path: Path) -> None:
    digest = hashlib.sha256(b"weights").hexdigest()
    there = {"sha256": digest, "copied_to": str(tmp_path)}
    elsewhere = {"sha256": digest, "copied_to": "/somewhere/else"}
    Agent(db).send(lines("dev.1", artifact(**there), artifact(id="a2", **elsewhere), artifact(id="a3")))
    place = tmp_path / "sha256" / digest[:2] / digest[2:]
    place.parent.mkdir(parents=True)
    place.write_bytes(b"weights")
    assert problems(db, tmp_path)["artifacts"] == []
    place.unlink()
    (told,) = problems(db, tmp_path)["artifacts"]
    assert "The copy of `model.pt` (a1)" in told
