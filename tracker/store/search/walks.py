"""Orders walked along an index. An order has a walk for each of its keys, and one for runs that lack them all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select, String, and_, literal, null, select, tuple_, type_coerce, union_all

from tracker.store.search.conditions import OPERATORS, for_each
from tracker.store.search.language import Compared, Condition, Every, Field
from tracker.store.search.orders import Place, Sorting, in_direction
from tracker.store.tables import Param, Result, Run, Tag, is_set

_WITH_INDEX = ("last", "min", "max")
_RUN_ID = type_coerce(Run.id, String)


@dataclass(frozen=True)
class Branch:
    """A part of a walk: a select of keys and of the ids of runs that fit; `key` is None where they lack it."""

    query: Select[Any]
    key: ColumnElement[Any] | None
    run_id: ColumnElement[Any]

    def page(self, after: Sequence[Any] | None, descending: bool, limit: int) -> Select[Any]:
        """The first ones after this key and id, or this id alone."""
        columns = [self.run_id] if self.key is None else [self.key, self.run_id]
        query = self.query.order_by(*(in_direction(one, descending) for one in columns)).limit(limit)
        if after is None:
            return query
        here, there = tuple_(*columns), tuple_(*map(literal, after))
        return query.where(here < there if descending else here > there)


@dataclass(frozen=True)
class Walk:
    """The runs whose first key is the one of this number, or which have none of so many, by key and id."""

    number: int
    keys: int
    descending: bool
    branches: Sequence[Branch]

    def query(self, place: Place | None, limit: int) -> Select[Any] | None:
        """The keys and ids of the first runs after this place; None when the place is beyond this walk."""
        after: list[Any] | None = None
        if place is not None:
            first = next((number for number, value in enumerate(place[:-1]) if value is not None), self.keys)
            if first > self.number:
                return None
            if first == self.number:
                after = [one for one in place if one is not None]
        pages = [one.page(after, self.descending, limit) for one in self.branches]
        if len(pages) == 1:
            return pages[0]
        both = union_all(*(select(one.subquery()) for one in pages)).subquery()
        ordering = (in_direction(one, self.descending) for one in (both.c.key, both.c.id))
        return select(both.c.key, both.c.id).order_by(*ordering).limit(limit)

    def place(self, key: Any, run_id: str) -> Place:
        """Where a run is in the order."""
        return [*(key if number == self.number else None for number in range(self.keys)), run_id]


def walks(sorting: Sorting, fits: ColumnElement[bool], where: Condition | None) -> Iterator[Walk]:
    """The walks of an order by one field, one after the other."""
    (order,), keys = sorting.orders, sorting.keys
    leaves = [one for one in _leaves(where) if _same(one.field, order.field)]
    for number, key in enumerate(keys):
        branches = list(_branches(order.field, number, key.sql, fits, leaves))
        if branches:
            yield Walk(number, len(keys), order.descending, branches)
    if not leaves and not keys[0].is_always:
        nothing: ColumnElement[Any] = null()
        lacking = select(nothing.label("key"), _RUN_ID.label("id")).where(*(key.sql.is_(None) for key in keys), fits)
        yield Walk(len(keys), len(keys), order.descending, [Branch(lacking, None, _RUN_ID)])


def _branches(
    field: Field, number: int, sql: ColumnElement[Any], fits: ColumnElement[bool], leaves: Sequence[Compared]
) -> Iterator[Branch]:
    if field.kind == "metrics" and field.of in _WITH_INDEX:
        yield _along(Result, Result.metric, field, getattr(Result, field.of), fits, leaves)
        yield _sorted(sql, and_(is_set(Run.results_due), fits))
    elif field.kind == "params" and number == 0:
        yield _along(Param, Param.key, field, Param.number, fits, leaves)
    elif field.kind == "params":
        if not any(isinstance(leaf.value, float) for leaf in leaves):
            yield _along(Param, Param.key, field, Param.head, fits, leaves, Param.number.is_(None))
    elif field.kind == "tags":
        yield _along(Tag, Tag.key, field, Tag.head, fits, leaves)
    elif field.kind == "attributes":
        query = select(sql.label("key"), _RUN_ID.label("id")).where(sql.is_not(None), fits)
        yield Branch(query, sql, _RUN_ID)
    else:
        yield _sorted(sql, fits)


def _along(
    table: Any, name: Any, field: Field, key: Any, fits: ColumnElement[bool], leaves: Sequence[Compared], *more: Any
) -> Branch:
    run_id = type_coerce(table.run_id, String)
    run_fits = for_each(select(literal(1)).where(Run.id == table.run_id, fits).correlate(table))
    query = select(key.label("key"), run_id.label("id")).where(name == field.name, key.is_not(None), *more, run_fits)
    return Branch(query.where(*_bounds(key, leaves)), key, run_id)


def _sorted(sql: ColumnElement[Any], fits: ColumnElement[bool]) -> Branch:
    """Of keys without an index: all are read."""
    found = select(sql.label("key"), _RUN_ID.label("id")).where(fits).offset(0).subquery()
    return Branch(select(found.c.key, found.c.id).where(found.c.key.is_not(None)), found.c.key, found.c.id)


def _leaves(where: Condition | None) -> Iterator[Compared]:
    """The comparisons that all runs fit; NaN is the value of those that lack one."""
    if isinstance(where, Every):
        for part in where.parts:
            yield from _leaves(part)
    elif isinstance(where, Compared) and str(where.value).lower() != "nan":
        yield where


def _same(one: Field, other: Field) -> bool:
    return (one.kind, one.name, one.of) == (other.kind, other.name, other.of)


def _bounds(key: Any, leaves: Sequence[Compared]) -> Iterator[ColumnElement[bool]]:
    """What the filter says of the key itself: where the walk begins and ends."""
    if key.type.python_type is float:
        for leaf in leaves:
            if leaf.operator != "!=" and isinstance(leaf.value, float):
                yield OPERATORS[leaf.operator](key, leaf.value)
