"""A database goes down to the form of an older tracker and up again, and keeps what both forms have a place for."""

from __future__ import annotations

import pytest
from sqlalchemy import inspect, text

from tests.store.filled import Rows, fill, rows, seen
from tracker.errors import BadInput, DatabaseUnavailable
from tracker.store import levels
from tracker.store.database import Database

ONE_DOWN = dict(zip(levels.all_levels(), (levels.EMPTY, *levels.all_levels()), strict=False))
MOVED = {
    "0005": {("logs", "offset_bytes")},
    "0007": {("segments", "*")},
    "0012": {("segments", "points"), ("segments", "fine"), ("segments", "coarse"), ("batches", "content")},
}
"""By level what the form below it keeps under the same name with another meaning; `*`: rows that it has more of."""


def _content(db: Database) -> dict[str, Rows]:
    with db.engine.connect() as connection:
        return rows(connection)


def _form(db: Database) -> dict[str, object]:
    """Columns, keys and indexes of all tables."""
    told = inspect(db.engine)
    return {
        name: (
            sorted((one["name"], str(one["type"]), one["nullable"]) for one in told.get_columns(name)),
            told.get_pk_constraint(name)["constrained_columns"],
            sorted((str(one["name"]), str(one["column_names"])) for one in told.get_indexes(name)),
        )
        for name in told.get_table_names()
    }


def _same(one: dict[str, Rows], other: dict[str, Rows], moved: set[tuple[str, str]]) -> bool:
    """Whether both have the same in the tables and columns that both have."""
    both = set(one) & set(other) - {table for table, column in moved if column == "*"}
    return all(_kept(table, one, other, moved) == _kept(table, other, one, moved) for table in both)


def _kept(table: str, of: dict[str, Rows], and_in: dict[str, Rows], moved: set[tuple[str, str]]) -> Rows:
    columns = set(and_in[table][0]) if and_in[table] else set()
    names = columns - {name for where, name in moved if where == table}
    return [{name: value for name, value in row.items() if name in names} for row in of[table]]


def test_each_level_goes_down_and_up_again_and_loses_nothing_that_it_need_not(db: Database) -> None:
    fill(db)
    for top in reversed(levels.all_levels()[1:]):
        form, before = _form(db), _content(db)
        levels.downgrade(db.url, ONE_DOWN[top])
        below = _content(db)
        assert _same(before, below, MOVED.get(top, set())), top
        levels.upgrade(db.url, top)
        assert _form(db) == form, top
        levels.downgrade(db.url, ONE_DOWN[top])
        assert _content(db) == below, top
        if not db.is_postgresql:
            with db.engine.connect() as connection:
                assert connection.execute(text("PRAGMA foreign_key_check")).all() == [], top
    levels.downgrade(db.url, levels.EMPTY)
    assert set(_content(db)) == set()
    db.upgrade()
    db.check()


def test_people_see_the_same_after_the_way_to_the_level_below_and_back(db: Database) -> None:
    fill(db)
    before = seen(db)
    assert len(before) > 10
    levels.downgrade(db.url, "0006")
    db.upgrade()
    assert seen(db) == before


@pytest.mark.parametrize("to", ["9999", "", "0001; DROP TABLE runs", "head"])
def test_there_is_no_way_down_to_what_is_no_level_below(db: Database, to: str) -> None:
    levels.downgrade(db.url, "0008")
    with pytest.raises(BadInput, match=r"it can to base, 0001, .*0008"):
        levels.downgrade(db.url, to)
    with pytest.raises(BadInput, match="cannot go down to `0009`"):
        levels.downgrade(db.url, "0009")


def test_a_database_of_a_newer_tracker_is_refused_in_a_sentence(db: Database) -> None:
    with db.write() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    for work in (db.check, db.upgrade, lambda: levels.downgrade(db.url, "0001")):
        with pytest.raises(DatabaseUnavailable, match="at 9999 and belongs to a newer tracker"):
            work()
