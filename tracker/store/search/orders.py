"""Orders of runs, and cursors: where in an order the next page begins.

A field is one key, a parameter two: its number and, of those that are none, its text. Runs are ordered by their keys
one after the other, those that lack one last, and at the end by their ids in the direction of the last field: new
ids begin with the time (see store/runs.py), so runs that are alike come by age.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, and_, case, false, or_, select, type_coerce

from tracker.errors import BadInput
from tracker.store.search.attributes import attribute
from tracker.store.search.conditions import metric_value
from tracker.store.search.language import Field, Order
from tracker.store.tables import Param, Run, Summary, Tag, UtcTime

NEWEST_FIRST = (Order(Field("attributes", "created_at", "last", 1), descending=True),)

Place = Sequence[Any]
"""The values of a run's keys, and its id."""


@dataclass(frozen=True)
class Key:
    """What runs are ordered by: its value as SQL about `Run`. `is_always`: each run has one."""

    sql: ColumnElement[Any]
    descending: bool
    is_always: bool

    def takes(self, value: Any) -> bool:
        """Whether this may be a value of ours in a cursor."""
        if value is None or self.sql.type.python_type is str:
            return value is None or is_text(value)
        return type(value) is float or (type(value) is int and abs(value) < 2**63)


class Sorting:
    """The keys of an order. Raises BadFilter for a field that runs do not have."""

    def __init__(self, orders: Sequence[Order], now: datetime) -> None:
        self.orders = tuple(orders)
        self.keys = [key for order in self.orders for key in _keys(order, now)]
        self.descending = self.orders[-1].descending

    def cursor_at(self, place: Place) -> str:
        """The cursor of the page that begins after this place."""
        raw = json.dumps([self._name(), *place])
        return base64.urlsafe_b64encode(raw.encode()).decode().rstrip("=")

    def read(self, cursor: str) -> Place:
        """The place of a cursor. Raises BadInput."""
        try:
            decoded: list[Any] = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
            name, *values, run_id = decoded
            taken = (key.takes(one) for key, one in zip(self.keys, values, strict=True))
            if name == self._name() and is_text(run_id) and all(taken):
                return [*values, run_id]
        except (ValueError, TypeError, RecursionError, binascii.Error):
            pass
        raise BadInput("This cursor is not one of ours, or of another order; start again without `cursor`.")

    def beyond(self, columns: Sequence[ColumnElement[Any]], place: Place) -> ColumnElement[bool]:
        """The condition that a run comes after this place; `columns` are its keys and its id."""
        ways: list[ColumnElement[bool]] = []
        alike: list[ColumnElement[bool]] = []
        for column, value, descending in zip(columns, place, self._directions(), strict=True):
            if value is None:
                alike.append(column.is_(None))
                continue
            after = column < value if descending else column > value
            ways.append(and_(*alike, or_(after, column.is_(None))))
            alike.append(column == value)
        return or_(false(), *ways)

    def clauses(self, columns: Sequence[ColumnElement[Any]]) -> list[ColumnElement[Any]]:
        """ORDER BY these keys and the id."""
        directed = zip(columns, self._directions(), strict=True)
        return [
            part for column, descending in directed for part in (column.is_(None), in_direction(column, descending))
        ]

    def _directions(self) -> list[bool]:
        return [*(key.descending for key in self.keys), self.descending]

    def _name(self) -> str:
        return " ".join(f"{one.field.of} {one.field.kind}.{one.field.name} {one.descending:d}" for one in self.orders)


def in_direction(column: ColumnElement[Any], descending: bool) -> ColumnElement[Any]:
    """The column as a part of ORDER BY."""
    return column.desc() if descending else column.asc()


def is_text(value: Any) -> bool:
    """Whether a cursor may hold this as a text: databases take neither NUL nor half a character."""
    try:
        return isinstance(value, str) and "\0" not in value and bool(value.encode() or True)
    except UnicodeEncodeError:
        return False


def _keys(order: Order, now: datetime) -> list[Key]:
    field = order.field
    if field.kind == "attributes":
        sql = attribute(field).sql(now)
        is_always = not getattr(getattr(sql, "expression", None), "nullable", True)
        return [
            Key(type_coerce(sql, BigInteger) if isinstance(sql.type, UtcTime) else sql, order.descending, is_always)
        ]
    if field.kind == "metrics":
        found = [_of(Summary, Summary.metric, field, metric_value(field))]
    elif field.kind == "params":
        text = case((Param.number.is_(None), Param.head))
        found = [_of(Param, Param.key, field, Param.number), _of(Param, Param.key, field, text)]
    else:
        found = [_of(Tag, Tag.key, field, Tag.head)]
    return [Key(sql, order.descending, False) for sql in found]


def _of(table: Any, key: Any, field: Field, value: Any) -> ColumnElement[Any]:
    return select(value).where(table.run_id == Run.id, key == field.name).correlate(Run).scalar_subquery()
