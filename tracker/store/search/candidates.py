"""Which part of a filter finds few runs by an index: they are looked at then, and no others."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple, Union

from sqlalchemy import ColumnElement, Select, func, select, union_all
from sqlalchemy.orm import Session

from tracker.store.search.attributes import attribute, number, text
from tracker.store.search.conditions import OPERATORS
from tracker.store.search.language import Alike, Among, Compared, Condition, Every, Present, Some
from tracker.store.tables import HEAD_CHARS, Experiment, Param, Result, Run, Tag

FEW_RUNS = 3000
"""So many runs are looked at one by one; where more fit, a walk soon finds a page of them."""
_MOST_WAYS = 10
_WORDS = ("id", "user", "state")
_MOMENTS = ("created_at", "updated_at", "ended_at")


class Way(NamedTuple):
    """Selects of run ids that together find each run that fits, and others perhaps.

    `by_results`: of those that are not due only (see store/results.py).
    """

    selects: tuple[Select[Any], ...]
    by_results: bool = False


def few(session: Session, ways: Sequence[Way]) -> Select[Any] | None:
    """The ids of the fewest runs that one of the ways finds; None where each finds many."""
    ways = ways[:_MOST_WAYS]
    if not ways:
        return None
    counts = session.execute(select(*map(_count, ways))).one()
    least, way = min(zip(counts, ways, strict=True), key=lambda one: one[0])
    due = (select(Run.id).where(Run.results_due),) if way.by_results else ()
    return _together((*way.selects, *due)) if least <= FEW_RUNS else None


def among(session: Session, ids: Select[Any]) -> ColumnElement[bool]:
    """The condition that a run is one of these, which are looked up by their key."""
    if session.get_bind().dialect.name == "postgresql":
        return Run.id == func.any(func.array(ids.scalar_subquery()))  # of an array it thinks that it is short
    return Run.id.in_(ids)


def _count(way: Way) -> ColumnElement[int]:
    found = _together(way.selects).limit(FEW_RUNS + 1).subquery()
    return select(func.count()).select_from(found).scalar_subquery()


def _together(selects: Sequence[Select[Any]]) -> Select[Any]:
    return selects[0] if len(selects) == 1 else select(union_all(*selects).subquery())


def ways(condition: Condition, now: datetime) -> list[Way]:
    """The ways that indexes have to find the runs that fit."""
    if isinstance(condition, Every):
        return [way for part in condition.parts for way in ways(part, now)]
    if isinstance(condition, (Some, Among)):
        parts = condition.parts if isinstance(condition, Some) else condition.values
        each = [ways(part, now)[:1] for part in parts]
        if not all(each):
            return []
        return [Way(tuple(one for (way,) in each for one in way.selects), any(way.by_results for (way,) in each))]
    if isinstance(condition, (Compared, Alike, Present)):
        found = _WAYS[condition.field.kind](condition, now)
        return [] if found is None else [Way((found,), condition.field.kind == "metrics")]
    return []


_Leaf = Union[Compared, Alike, Present]


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
    if value != value:
        return of_metric.where(column.is_(None))
    return of_metric.where(OPERATORS[leaf.operator](column, value)) if leaf.operator != "!=" else None


def _by_text(table: type[Param] | type[Tag]) -> Any:
    def way(leaf: _Leaf, _now: datetime) -> Select[Any] | None:
        of_key = select(table.run_id).where(table.key == leaf.field.name)
        if isinstance(leaf, Present):
            return of_key
        if isinstance(leaf, Alike):
            begins = None if leaf.any_case else _begins(leaf.pattern)
            return None if begins is None else of_key.where(table.head >= begins[0], table.head < begins[1])
        if isinstance(leaf.value, float) and table is Param:
            return None if leaf.operator == "!=" else of_key.where(OPERATORS[leaf.operator](Param.number, leaf.value))
        return of_key.where(table.head == text(leaf)[:HEAD_CHARS]) if leaf.operator == "=" else None

    return way


def _begins(pattern: str) -> tuple[str, str] | None:
    """The least text that fits the pattern, and one that is greater than all that do."""
    fixed = pattern.partition("%")[0].partition("_")[0][:HEAD_CHARS]
    following = ord(fixed[-1]) + 1 if fixed else 0
    if not fixed or following > 0x10FFFF or 0xD800 <= following < 0xE000:
        return None
    return fixed, fixed[:-1] + chr(following)


_WAYS = {"attributes": _by_attribute, "metrics": _by_metric, "params": _by_text(Param), "tags": _by_text(Tag)}
