"""What all tables have in common: their parent, and how moments and flags are kept."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Dialect, LargeBinary, MetaData, literal_column, types
from sqlalchemy.orm import DeclarativeBase


class UtcTime(types.TypeDecorator[datetime]):
    """A moment in UTC with microseconds, kept as an integer so that both databases sort and compare it alike."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        """Microseconds since 1970."""
        return None if value is None else round(value.timestamp() * 1_000_000)

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:
        """A datetime in UTC."""
        return None if value is None else datetime.fromtimestamp(value / 1_000_000, tz=timezone.utc)


class Table(DeclarativeBase):
    """The parent of all tables."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_name)s",
            "uq": "uq_%(table_name)s_%(column_0_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {datetime: UtcTime, int: BigInteger, bytes: LargeBinary}  # noqa: RUF012


def is_set(flag: Any) -> ColumnElement[Any]:
    """The condition that a flag is set, in the words of the partial index on it.

    SQLAlchemy would say `flag = 1` to SQLite, which does not take that for the `flag` of the index and reads the table.
    """
    return literal_column(f"{flag.class_.__tablename__}.{flag.key}")
