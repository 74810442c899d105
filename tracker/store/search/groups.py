"""Groups of runs: those with the same values of fields, and what a metric comes to in each.

Two passes: the second takes distances from each group's own mean, so that a standard deviation is right where squares
would cancel out. Values beyond 1e140 have squares that are no numbers; they are left out, as NaN and infinities are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Text, and_, case, cast, func, literal, null, select
from sqlalchemy.orm import Session

from tracker.errors import BadFilter
from tracker.store.search import language
from tracker.store.search.attributes import attribute
from tracker.store.search.conditions import metric_value
from tracker.store.search.language import Field
from tracker.store.search.pages import Search
from tracker.store.tables import HEAD_CHARS, Param, Run, Summary, Tag, UtcTime

MOST_FIELDS = 3
_GREATEST = 1e140
_IS, _LACKS = "=", ""  # before a value, and instead of one: a NULL would not be equal to itself


@dataclass(frozen=True)
class Figures:
    """Of how many values there are the mean, the sample standard deviation, the least and the greatest, if any."""

    count: int
    mean: float | None
    std: float | None
    min: float | None
    max: float | None


@dataclass(frozen=True)
class Group:
    """Runs with the same values; None where they lack the field. `filter` is theirs in the language of filters.

    `runs`: how many they are. `values`: the metric's chosen figure of each run. `points`: all points of all of them.
    """

    key: tuple[str | None, ...]
    filter: str
    runs: int
    values: Figures | None
    points: Figures | None


def fields(text: str) -> list[Field]:
    """Read fields such as `params.lr, tags.stage`. Raises BadFilter."""
    found = [order.field for order in language.parse_order(text)]
    for field in found:
        if field.kind == "metrics":
            raise BadFilter(f"At column {field.column}: runs are grouped by params, tags or attributes.")
    return found


def group(
    session: Session, search: Search, by: Sequence[Field], metric: Field | None, now: datetime, limit: int
) -> list[Group]:
    """The groups of the runs found, the largest first, at most `limit`. Raises BadFilter."""
    names = [f"key_{number}" for number in range(len(by))]
    keys = [_key(field, now).label(name) for name, field in zip(names, by, strict=True)]
    rows = _with_metric(select(*keys), metric).where(search.looked_at(session)).cte("rows")
    means = _means(rows, names)
    same = and_(*(rows.c[name] == means.c[name] for name in names))
    apart = func.sum((rows.c.value - means.c.mean) * (rows.c.value - means.c.mean))
    share = rows.c.total / rows.c.finite - means.c.point_mean
    within = func.sum(rows.c.spread + rows.c.finite * share * share)
    chosen = select(*means.c, apart.label("apart"), within.label("within")).join_from(means, rows, same)
    query = chosen.group_by(*means.c).order_by(means.c.runs.desc(), *(means.c[name] for name in names)).limit(limit)
    return [_read(row, by, metric is not None) for row in session.execute(query).mappings()]


def _with_metric(query: Any, metric: Field | None) -> Any:
    """Beside the keys the value and all points of the metric; NULL where it has none, or none that can be squared."""
    wanted = ("value", "total", "spread", "least", "greatest")
    if metric is None:
        nothing: list[ColumnElement[Any]] = [cast(null(), Summary.last.type).label(name) for name in wanted]
        return query.add_columns(*nothing, cast(null(), Summary.count.type).label("finite")).select_from(Run)
    value = metric_value(metric)
    small = and_(
        Summary.finite_count > 0, *(func.abs(one) < _GREATEST for one in (Summary.total, Summary.min, Summary.max)),
        func.coalesce(Summary.spread, 0) < _GREATEST**2,
    )  # fmt: skip
    whole = {"total": Summary.total, "spread": Summary.spread, "least": Summary.min, "greatest": Summary.max}
    columns = [case((func.abs(value) < _GREATEST, value)).label("value")]
    columns += [case((small, column)).label(name) for name, column in whole.items()]
    columns.append(case((small, Summary.finite_count)).label("finite"))
    joined = and_(Summary.run_id == Run.id, Summary.metric == metric.name)
    return query.add_columns(*columns).select_from(Run).outerjoin(Summary, joined)


def _means(rows: Any, names: Sequence[str]) -> Any:
    keys = [rows.c[name] for name in names]
    value = rows.c.value
    return (
        select(
            *keys, func.count().label("runs"),
            func.count(value).label("values"), func.avg(value).label("mean"),
            func.min(value).label("min"), func.max(value).label("max"),
            func.sum(rows.c.finite).label("points"), func.min(rows.c.least).label("least"),
            func.max(rows.c.greatest).label("greatest"),
            (func.sum(rows.c.total) / func.nullif(func.sum(rows.c.finite), 0)).label("point_mean"),
            func.count(case((rows.c.finite.is_not(None) & rows.c.spread.is_(None), 1))).label("unknown"),
        ).group_by(*keys).cte("means")
    )  # fmt: skip


def _key(field: Field, now: datetime) -> ColumnElement[Any]:
    if field.kind == "attributes":
        value: ColumnElement[Any] = attribute(field).sql(now)
        if isinstance(value.type, UtcTime) or field.name.lower() == "duration":
            raise BadFilter(f"At column {field.column}: `{field.name}` is hardly the same for two runs.")
        value = func.substr(cast(value, Text), 1, HEAD_CHARS)
    else:
        table: Any = Param if field.kind == "params" else Tag
        value = (
            select(table.head).where(table.run_id == Run.id, table.key == field.name).correlate(Run).scalar_subquery()
        )
    return func.coalesce(literal(_IS) + value, _LACKS)


def _read(row: Any, by: Sequence[Field], has_metric: bool) -> Group:
    key = tuple(None if row[f"key_{number}"] == _LACKS else row[f"key_{number}"][1:] for number in range(len(by)))
    values = points = None
    if has_metric:
        values = Figures(row["values"], row["mean"], _std(row["apart"], row["values"]), row["min"], row["max"])
        count = int(row["points"] or 0)
        within = None if row["unknown"] else row["within"]
        points = Figures(count, row["point_mean"], _std(within, count), row["least"], row["greatest"])
    parts = [_condition(field, value) for field, value in zip(by, key, strict=True)]
    return Group(key, " and ".join(parts), row["runs"], values, points)


def _std(squares: float | None, count: int) -> float | None:
    return None if squares is None or count < 2 else math.sqrt(max(squares, 0) / (count - 1))


def _condition(field: Field, value: str | None) -> str:
    name = language.written(field)
    if value is None:
        return f"{name} is null"
    if len(value) == HEAD_CHARS:  # there may be more of it
        return f"{name} like {language.quoted(value.replace('%', '_') + '%')}"
    return f"{name} = {language.quoted(value)}"
