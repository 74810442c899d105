"""The database: made by whoever comes first, the same on both kinds."""

from __future__ import annotations

import pytest

from tracker.errors import BadInput, DatabaseUnavailable
from tracker.store import levels
from tracker.store.database import Database


def test_a_database_without_our_tables_is_not_ready(database_url: str) -> None:
    database = Database(database_url)
    with pytest.raises(DatabaseUnavailable, match="tracker db upgrade"):
        database.check()
    database.close()


def test_a_database_that_is_too_old_is_told_in_a_sentence(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(levels, "OLDEST", {"postgresql": (99, 1), "sqlite": (99, 1)})
    with pytest.raises(DatabaseUnavailable, match=r"This (PostgreSQL|SQLite) is [\d.]+; tracker needs 99.1 or newer"):
        levels.upgrade(database_url)
    monkeypatch.undo()
    with pytest.raises(DatabaseUnavailable, match=f"The database is at {levels.EMPTY}"):  # nothing is half-done
        Database(database_url).check()


@pytest.mark.parametrize("url", ["nonsense", "mysql://root@localhost/x", "sqlite+nope:///x"])
def test_a_database_that_cannot_be_used_is_told_in_a_sentence(url: str) -> None:
    with pytest.raises(BadInput, match=r"database URL|keeps its data in"):
        Database(url)


def test_a_database_that_does_not_answer_is_told_in_a_sentence() -> None:
    database = Database("postgresql://nobody@127.0.0.1:1/nothing")
    with pytest.raises(DatabaseUnavailable, match="The database does not work now: "):
        database.check()
    database.close()
