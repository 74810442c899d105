"""A backup is the database of one moment, whoever writes meanwhile, and becomes a database again."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import func, select
from sqlalchemy.engine import make_url

from tests.agent_side import Agent, lines, points
from tests.postgres import Postgres
from tests.store.filled import fill, rows, seen
from tracker.errors import BadInput, Conflict, DatabaseUnavailable, SetupProblem
from tracker.store import backups, dumps
from tracker.store.database import Database
from tracker.store.tables import Run, Summary, Writer

Fresh = Callable[[], str]


def quiet(_done: int, _of: int | None) -> None:
    """Nobody wants to know how far it is."""


@pytest.fixture
def fresh(db: Database, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Fresh]:
    """The URL of another database of the same kind, an empty one."""
    if not db.is_postgresql:
        yield lambda: f"sqlite:///{tmp_path}/restored.db"
        return
    server: Postgres = request.getfixturevalue("postgres")
    url = server.new_database()
    yield lambda: url
    server.drop(url)


def test_what_was_backed_up_comes_back_as_it_was(db: Database, fresh: Fresh, tmp_path: Path) -> None:
    fill(db)
    told: list[tuple[int, int | None]] = []
    copy = tmp_path / "a backup?#%41"
    backups.backup(db.url, copy, lambda done, of: told.append((done, of)))
    assert copy.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.glob(".*")) == []
    restored = Database(fresh())
    backups.restore(restored.url, copy, quiet)
    restored.check()
    with db.engine.connect() as one, restored.engine.connect() as other:
        assert rows(one) == rows(other)
    assert seen(restored) == seen(db)
    Agent(restored).send(lines("dev.12", *points(3), writer="later"))
    restored.close()


def test_a_backup_taken_while_many_write_is_of_one_moment(
    db: Database, fresh: Fresh, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backups, "_PAGES_A_STEP", 1)
    fill(db)
    stop, begun = threading.Event(), threading.Barrier(4)

    def write(number: int) -> None:
        offset = sent = 0
        while not stop.is_set():
            part = lines(f"dev.{100 + number}", *points(5, first=sent), offset=offset)
            Agent(db).send(part)
            offset, sent = offset + len(part[1]), sent + 5
            if sent == 5:
                begun.wait(timeout=60)

    writers = [threading.Thread(target=write, args=(number,)) for number in range(3)]
    for writer in writers:
        writer.start()
    begun.wait(timeout=60)
    copies = [tmp_path / f"{number}.backup" for number in range(3)]
    for copy in copies:
        backups.backup(db.url, copy, quiet)
    stop.set()
    for writer in writers:
        writer.join()
    restored = Database(fresh())
    backups.restore(restored.url, copies[-1], quiet)
    counted = select(Writer.next_step, Summary.count).join(Summary, Summary.run_id == Writer.run_id)
    counted = counted.join(Run, Run.id == Writer.run_id).where(Run.job_id >= 100, Run.job_id < 103)
    with restored.read() as session:
        found = session.execute(counted).all()
        assert len(found) == 3
        assert [one for one in found if one.count != one.next_step] == []  # offsets and points are of one moment
    with db.read() as session, restored.read() as other:
        total = select(func.sum(Summary.count))
        assert (session.scalar(total) or 0) >= (other.scalar(total) or 0) > 0
    restored.close()


def test_a_backup_overwrites_nothing_and_nothing_is_restored_over_data(db: Database, tmp_path: Path) -> None:
    fill(db)
    copy = tmp_path / "copy"
    backups.backup(db.url, copy, quiet)
    before = copy.read_bytes()
    with pytest.raises(Conflict, match="is there already"):
        backups.backup(db.url, copy, quiet)
    assert copy.read_bytes() == before
    with pytest.raises(Conflict, match=r"is not empty \(it has \d+ tables\)"):
        backups.restore(db.url, copy, quiet)


@pytest.mark.parametrize("content", [b"", b"hello", b"SQLite format 3\0" + bytes(5000), b"PGDMP\1\2" + bytes(100)])
def test_what_is_no_backup_is_refused_and_nothing_is_left(
    db: Database, fresh: Fresh, tmp_path: Path, content: bytes
) -> None:
    wrong = tmp_path / "wrong"
    wrong.write_bytes(content)
    with pytest.raises((BadInput, DatabaseUnavailable)):
        backups.restore(fresh(), wrong, quiet)
    empty = Database(fresh())
    with empty.engine.connect() as connection:
        assert rows(connection) == {}
    empty.close()


def test_a_backup_that_was_cut_off_is_refused(db: Database, fresh: Fresh, tmp_path: Path) -> None:
    fill(db)
    copy, cut = tmp_path / "copy", tmp_path / "cut"
    backups.backup(db.url, copy, quiet)
    cut.write_bytes(copy.read_bytes()[: copy.stat().st_size // 2])
    with pytest.raises((BadInput, DatabaseUnavailable)):
        backups.restore(fresh(), cut, quiet)
    backups.restore(fresh(), copy, quiet)


def test_where_nothing_can_be_written_it_is_told(db: Database, fresh: Fresh, tmp_path: Path) -> None:
    with pytest.raises(SetupProblem, match="cannot be written: No such file or directory"):
        backups.backup(db.url, tmp_path / "nowhere" / "copy", quiet)
    with pytest.raises(SetupProblem, match="cannot be read: No such file or directory"):
        backups.restore(fresh(), tmp_path / "nowhere", quiet)
    with pytest.raises(Conflict, match="nothing to copy"):
        backups.backup(fresh(), tmp_path / "copy", quiet)


def test_a_pg_dump_that_is_too_old_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    old = tmp_path / "pg_dump"
    old.write_text("#!/bin/sh\necho 'pg_dump (PostgreSQL) 9.6.1'\n")
    old.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(dumps, "_DEBIAN", tmp_path / "none")
    with pytest.raises(SetupProblem, match="needs pg_dump of PostgreSQL 15 or newer, and the one here is of 9"):
        dumps._program("pg_dump", 15)


@pytest.mark.parametrize("url", ["postgresql://me:secret@host/name?a=1", "postgresql://me@host/name?password=b&a=1"])
def test_passwords_are_in_no_process_list(url: str) -> None:
    assert dumps._without(make_url(url)) == "postgresql://me@host/name?a=1"
