"""Insert rows, or change those that are there already: one statement for any number of rows, on both databases."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from tracker.store.tables import Table

_ROWS_A_STATEMENT = 500


def upsert(session: Session, table: type[Table], rows: Sequence[dict[str, Any]]) -> None:
    """Insert rows, each with the same columns; where the primary key is taken the other columns are changed."""
    insert = postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
    key = [column.name for column in table.__table__.primary_key]
    for start in range(0, len(rows), _ROWS_A_STATEMENT):
        statement = insert(table).values(rows[start : start + _ROWS_A_STATEMENT])
        others = {name: statement.excluded[name] for name in rows[0] if name not in key}
        session.execute(statement.on_conflict_do_update(index_elements=key, set_=others))
