"""Orders of runs, and cursors: where in an order the next page begins."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Select, String, and_, false, or_, type_coerce
from sqlalchemy.orm import aliased

from tracker.errors import BadInput
from tracker.store.search.attributes import attribute
from tracker.store.search.conditions import metric_value
from tracker.store.search.language import Field, Order
from tracker.store.tables import Param, Run, Summary, Tag, UtcTime

NEWEST_FIRST = (Order(Field("attributes", "created_at", "last", 1), descending=True),)


@dataclass(frozen=True)
class _Key:
    sql: ColumnElement[Any]
    descending: bool

    def in_order(self) -> list[ColumnElement[Any]]:
        return [self.sql.is_(None), self.sql.desc() if self.descending else self.sql]

    def after(self, value: Any) -> ColumnElement[bool]:
        if value is None:
            return false()
        return or_(self.sql < value if self.descending else self.sql > value, self.sql.is_(None))

    def takes(self, value: Any) -> bool:
        if value is None or self.sql.type.python_type is str:
            return value is None or (type(value) is str and "\0" not in value)
        return type(value) is float or (type(value) is int and abs(value) < 2**63)

    def equals(self, value: Any) -> ColumnElement[bool]:
        return self.sql.is_(None) if value is None else self.sql == value


class Sorted:
    """Runs in an order: runs that lack a field come last, runs that are alike newest first."""

    def __init__(self, orders: Sequence[Order], now: datetime) -> None:
        """Raises BadFilter for a field that runs do not have."""
        self._orders = tuple(orders)
        self._joins: list[tuple[Any, ColumnElement[bool]]] = []
        keys = [_Key(sql, order.descending) for order in self._orders for sql in self._sql(order.field, now)]
        if NEWEST_FIRST[0] not in self._orders:
            keys.append(_Key(type_coerce(Run.created_at, BigInteger), descending=True))
        self._keys = [*keys, _Key(type_coerce(Run.id, String), descending=True)]

    def apply(self, query: Select[Any], cursor: str | None) -> Select[Any]:
        """The query in this order, from the cursor on; each row is a run and then its place. Raises BadInput."""
        for table, on in self._joins:
            query = query.outerjoin(table, on)
        if cursor:
            query = query.where(self._beyond(self._read(cursor)))
        ordering = [part for key in self._keys for part in key.in_order()]
        place = (key.sql.label(f"place_{number}") for number, key in enumerate(self._keys))
        return query.add_columns(*place).order_by(*ordering)

    def cursor_at(self, place: Sequence[Any]) -> str:
        """The cursor of the page that begins after this place."""
        raw = json.dumps([self._name(), *place])
        return base64.urlsafe_b64encode(raw.encode()).decode().rstrip("=")

    def _sql(self, field: Field, now: datetime) -> list[ColumnElement[Any]]:
        if field.kind == "attributes":
            sql = attribute(field).sql(now)
            return [type_coerce(sql, BigInteger) if isinstance(sql.type, UtcTime) else sql]
        if field.kind == "metrics":
            return [metric_value(field, self._joined(Summary, Summary.metric, field))]
        if field.kind == "params":
            param = self._joined(Param, Param.key, field)
            return [param.number, param.value]
        return [self._joined(Tag, Tag.key, field).value]

    def _joined(self, table: Any, key: Any, field: Field) -> Any:
        joined = aliased(table)
        self._joins.append((joined, and_(joined.run_id == Run.id, getattr(joined, key.key) == field.name)))
        return joined

    def _beyond(self, place: Sequence[Any]) -> ColumnElement[bool]:
        ways: list[ColumnElement[bool]] = []
        alike: list[ColumnElement[bool]] = []
        for key, value in zip(self._keys, place, strict=True):
            ways.append(and_(*alike, key.after(value)))
            alike.append(key.equals(value))
        return or_(*ways)

    def _name(self) -> str:
        return " ".join(f"{one.field.of} {one.field.kind}.{one.field.name} {one.descending:d}" for one in self._orders)

    def _read(self, cursor: str) -> list[Any]:
        try:
            decoded: list[Any] = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
            name, *place = decoded
            if name == self._name() and all(key.takes(one) for key, one in zip(self._keys, place, strict=True)):
                return place
        except (ValueError, TypeError, RecursionError, binascii.Error):
            pass
        raise BadInput("This cursor is not one of ours, or of another order; start again without `cursor`.")
