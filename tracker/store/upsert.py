"""Insert rows, or change those that are there already: one statement for any number of rows, on both databases."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from sqlalchemy import Insert
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from tracker.store.tables import Table


def upsert(session: Session, table: type[Table], rows: Sequence[dict[str, Any]]) -> None:
    """Insert rows, each with the same columns; where the primary key is taken the other columns are changed."""
    if rows:
        session.execute(_statement(table, tuple(rows[0]), session.get_bind().dialect.name), rows)


@cache
def _statement(table: type[Table], columns: tuple[str, ...], dialect: str) -> Insert:
    insert = postgresql.insert if dialect == "postgresql" else sqlite.insert
    key = [column.name for column in table.__table__.primary_key]
    statement = insert(table.__table__)  # type: ignore[arg-type]  # a mapped class has a table
    others = {name: statement.excluded[name] for name in columns if name not in key}
    return statement.on_conflict_do_update(index_elements=key, set_=others)


def as_array(column: Sequence[Any]) -> str:
    """A column of texts or of numbers as text of a PostgreSQL array: thousands of values are one parameter so."""
    if isinstance(next((one for one in column if one is not None), None), str):
        return "{" + _texts(column) + "}"
    return "{" + str([*column])[1:-1].replace("None", "NULL") + "}"


def _texts(column: Sequence[Any]) -> str:
    if None not in column:
        plain = '","'.join(column)
        if "\\" not in plain and plain.count('"') == 2 * len(column) - 2:
            return f'"{plain}"'
    return ",".join("NULL" if one is None else _quoted(one) for one in column)


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
