"""Which parts of a filter find few runs, alone or together: they are looked at then, and no others."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple, Union

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    ScalarSelect,
    Select,
    Text,
    func,
    intersect,
    literal,
    or_,
    select,
    union_all,
)
from sqlalchemy.orm import Session

from tracker.store.search.attributes import attribute, number, text
from tracker.store.search.conditions import OPERATORS, alike, where
from tracker.store.search.language import Alike, Among, Compared, Condition, Every, Field, Not, Present, Some
from tracker.store.tables import HEAD_CHARS, Experiment, Param, Result, Run, Tag, is_set

FEW_RUNS = 3000
"""So many runs are looked at one by one; where more fit, a walk soon finds a page of them."""
_MOST_WAYS = 10
_WORDS = ("id", "user", "state")
_MOMENTS = ("created_at", "updated_at", "ended_at")


class Way(NamedTuple):
    """Selects of run ids that together find each run that fits, and others perhaps.

    `by_results`: of those that are not due only (see store/results.py). `scans`: by the rows of all runs, not an index.
    """

    selects: tuple[Select[Any], ...]
    by_results: bool = False
    scans: bool = False


def few(session: Session, ways: Sequence[Way]) -> Select[Any] | None:
    """The ids of the fewest runs that one of the ways finds, or all of them together; None where these are many."""
    ways = ways[:_MOST_WAYS]
    if not ways:
        return None
    counts = session.execute(select(*map(_count, ways))).one()
    least, way = min(zip(counts, ways, strict=True), key=lambda one: one[0])
    found, by_results = _either(way.selects), way.by_results
    if least > FEW_RUNS:
        together = session.scalars(_together(session, ways).limit(FEW_RUNS + 1)).all() if len(ways) > 1 else None
        if together is None or len(together) > FEW_RUNS:
            return None
        found, by_results = _listed(session, together), any(one.by_results for one in ways)
    return _either((found, select(Run.id).where(is_set(Run.results_due)))) if by_results else found


def _together(session: Session, ways: Sequence[Way]) -> Select[Any]:
    """The runs that all of the ways find. For IN PostgreSQL joins indexes, SQLite does so for INTERSECT."""
    first, *others = (_either(way.selects) for way in ways)
    if session.get_bind().dialect.name == "sqlite":
        return select(intersect(first, *others).subquery())
    (ids,) = first.subquery().c
    return select(ids).where(*(ids.in_(one) for one in others))


def _listed(session: Session, ids: Sequence[str]) -> Select[Any]:
    """These ids as one parameter of a statement."""
    if session.get_bind().dialect.name == "sqlite":
        return select(func.json_each(json.dumps(ids)).table_valued("value").c.value)
    return select(func.unnest(literal(ids, ARRAY(Text))))


def looked_up(session: Session, ids: Select[Any]) -> ColumnElement[bool]:
    """The condition that a run is one of these, which are looked up by their key."""
    if session.get_bind().dialect.name == "postgresql":
        return Run.id == func.any(func.array(ids.scalar_subquery()))  # of an array it thinks that it is short
    return Run.id.in_(ids)


def _count(way: Way) -> ColumnElement[int]:
    found = _either(way.selects).limit(FEW_RUNS + 1).subquery()
    return select(func.count()).select_from(found).scalar_subquery()


def _either(selects: Sequence[Select[Any]]) -> Select[Any]:
    return selects[0] if len(selects) == 1 else select(union_all(*selects).subquery())


def ways(condition: Condition, now: datetime) -> list[Way]:
    """The ways to find the runs that fit without a look at other things of each run."""
    if isinstance(condition, Every):
        return [way for part in condition.parts for way in ways(part, now)]
    if isinstance(condition, (Compared, Alike, Present)):
        found = _WAYS[condition.field.kind](condition, now)
        if found is not None:
            return [Way((found,), condition.field.kind == "metrics")]
    if _is_of_columns(condition, now):
        return [Way((select(Run.id).where(where(condition, now)),), scans=True)]
    if isinstance(condition, (Some, Among)):
        parts = condition.parts if isinstance(condition, Some) else condition.values
        return _either_way([ways(part, now) for part in parts])
    return []


def _either_way(of_parts: Sequence[Sequence[Way]]) -> list[Way]:
    """The way to find all that fit one of the parts, if each has one."""
    each = [min(ways, key=lambda way: way.scans) for ways in of_parts if ways]
    if len(each) < len(of_parts):
        return []
    selects = tuple(one for way in each for one in way.selects)
    return [Way(selects, any(way.by_results for way in each), any(way.scans for way in each))]


_Leaf = Union[Compared, Alike, Present]


def _is_of_columns(condition: Condition, now: datetime) -> bool:
    """Whether it is all about columns of runs."""
    if isinstance(condition, (Every, Some)):
        return all(_is_of_columns(part, now) for part in condition.parts)
    if isinstance(condition, Not):
        return _is_of_columns(condition.part, now)
    field: Field = condition.field
    return field.kind == "attributes" and not isinstance(attribute(field).sql(now), ScalarSelect)


def _by_attribute(leaf: _Leaf, now: datetime) -> Select[Any] | None:
    if not isinstance(leaf, Compared) or leaf.operator == "!=":
        return None
    known = attribute(leaf.field)
    column, value = known.sql(now), known.read(leaf, now)
    if leaf.field.name.lower() == "experiment":
        named = select(Experiment.id).where(Experiment.name == value).scalar_subquery()
        return select(Run.id).where(Run.experiment_id == named) if leaf.operator == "=" else None
    name = getattr(column, "key", None)
    is_indexed = name in _MOMENTS or (name in _WORDS and leaf.operator == "=")
    return select(Run.id).where(OPERATORS[leaf.operator](column, value)) if is_indexed else None


def _by_metric(leaf: _Leaf, _now: datetime) -> Select[Any] | None:
    """Of runs that are not due; those that are have to be looked at whatever is asked."""
    if leaf.field.of not in ("last", "min", "max") or isinstance(leaf, Alike):
        return None
    of_metric = select(Result.run_id).where(Result.metric == leaf.field.name)
    if isinstance(leaf, Present):
        return of_metric
    column, value = getattr(Result, leaf.field.of), number(leaf)
    return of_metric.where(OPERATORS[leaf.operator](column, value) if value == value else column.is_(None))


def _by_text(table: type[Param] | type[Tag]) -> Any:
    def way(leaf: _Leaf, _now: datetime) -> Select[Any] | None:
        of_key = select(table.run_id).where(table.key == leaf.field.name)
        if isinstance(leaf, Present):
            return of_key
        if isinstance(leaf, Alike):
            begins = None if leaf.any_case else _begins(leaf.pattern)
            if begins is not None:
                return of_key.where(table.head >= begins[0], table.head < begins[1])
            return of_key.where(_perhaps(table, alike(table.head, leaf)))
        if isinstance(leaf.value, float) and table is Param:
            return of_key.where(OPERATORS[leaf.operator](Param.number, leaf.value))
        if leaf.operator == "=":
            return of_key.where(table.head == text(leaf)[:HEAD_CHARS])
        return of_key.where(_perhaps(table, OPERATORS[leaf.operator](table.head, text(leaf))))

    return way


def _perhaps(table: type[Param] | type[Tag], fits: ColumnElement[bool]) -> ColumnElement[bool]:
    """Whether the value fits, by its head alone, which is in the index: where there may be more of it it may fit."""
    return or_(fits, func.length(table.head) == HEAD_CHARS)


def _begins(pattern: str) -> tuple[str, str] | None:
    """The least text that fits the pattern, and one that is greater than all that do."""
    fixed = pattern.partition("%")[0].partition("_")[0][:HEAD_CHARS]
    following = ord(fixed[-1]) + 1 if fixed else 0
    if not fixed or following > 0x10FFFF or 0xD800 <= following < 0xE000:
        return None
    return fixed, fixed[:-1] + chr(following)


_WAYS = {"attributes": _by_attribute, "metrics": _by_metric, "params": _by_text(Param), "tags": _by_text(Tag)}
