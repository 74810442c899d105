"""Filters as conditions of SQL."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from datetime import datetime
from typing import Any, Union

from sqlalchemy import ColumnElement, Select, and_, false, func, literal, not_, or_, select, true

from tracker.errors import BadFilter
from tracker.store.search.attributes import attribute, number, text
from tracker.store.search.language import Alike, Among, Compared, Condition, Every, Field, Not, Present, Some
from tracker.store.tables import Param, Run, Summary, Tag

OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "=": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip
_Row = ColumnElement[bool]


def where(condition: Condition, now: datetime) -> ColumnElement[bool]:
    """The condition on runs. A run that lacks the field fits no comparison. Raises BadFilter."""
    if isinstance(condition, Every):
        return and_(true(), *(where(part, now) for part in condition.parts))
    if isinstance(condition, Some):
        return or_(false(), *(where(part, now) for part in condition.parts))
    if isinstance(condition, Not):
        return not_(where(condition.part, now))
    if isinstance(condition, Among):
        return or_(false(), *(where(one, now) for one in condition.values))
    return _KINDS[condition.field.kind](condition, now)


_Leaf = Union[Compared, Alike, Present]


def _of_attribute(leaf: _Leaf, now: datetime) -> _Row:
    known = attribute(leaf.field)
    column = known.sql(now)
    if isinstance(leaf, Present):
        return column.is_not(None)
    if isinstance(leaf, Alike):
        return alike(column, leaf)
    compared = OPERATORS[leaf.operator](column, known.read(leaf, now))
    return and_(column.is_not(None), compared)  # with NULL, `not` would not be the opposite


def _of_metric(leaf: _Leaf, _now: datetime) -> _Row:
    column = metric_value(leaf.field)
    if isinstance(leaf, Alike):
        raise BadFilter(f"At column {leaf.field.column}: a metric is a number, `like` is for texts.")
    if isinstance(leaf, Present):
        return _has(Summary, Summary.metric, leaf.field)
    value = number(leaf)
    if math.isnan(value):
        return _has(Summary, Summary.metric, leaf.field, column.is_(None))  # NaN is kept as NULL
    return _has(Summary, Summary.metric, leaf.field, OPERATORS[leaf.operator](column, value))


def _of_text(table: type[Param] | type[Tag]) -> Callable[[_Leaf, datetime], _Row]:
    def condition(leaf: _Leaf, _now: datetime) -> _Row:
        if isinstance(leaf, Present):
            return _has(table, table.key, leaf.field)
        if isinstance(leaf, Alike):
            return _has(table, table.key, leaf.field, alike(table.value, leaf))
        if isinstance(leaf.value, float) and table is Param:
            return _has(table, table.key, leaf.field, OPERATORS[leaf.operator](Param.number, leaf.value))
        compared = OPERATORS[leaf.operator](table.value, text(leaf))
        return _has(table, table.key, leaf.field, compared)

    return condition


_KINDS = {"attributes": _of_attribute, "metrics": _of_metric, "params": _of_text(Param), "tags": _of_text(Tag)}


def metric_value(field: Field, table: Any = Summary) -> ColumnElement[Any]:
    """The column of a summary that the field asks for."""
    if field.of == "mean":
        return table.total / func.nullif(table.finite_count, 0)  # type: ignore[no-any-return]
    return getattr(table, field.of)  # type: ignore[no-any-return]


def _has(table: Any, key: Any, field: Field, *more: ColumnElement[bool]) -> _Row:
    return for_each(select(literal(1)).where(table.run_id == Run.id, key == field.name, *more).correlate(Run))


def for_each(found: Select[Any]) -> ColumnElement[bool]:
    """Whether it finds something: looked up run by run by its key, never all at once as PostgreSQL likes to guess."""
    return found.offset(0).exists()


def alike(column: Any, leaf: Alike) -> ColumnElement[bool]:
    """The condition that a column is like that."""
    pattern = leaf.pattern.replace("\\", "\\\\")  # of the same meaning in both databases: none
    matches = column.ilike(pattern, escape="\\") if leaf.any_case else column.like(pattern, escape="\\")
    return and_(column.is_not(None), matches)
