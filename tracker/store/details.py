"""What a list shows of its runs: thousands of small rows, read as tuples, for objects would take most of its time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session
from sqlalchemy.orm.attributes import set_committed_value

from tracker.store.tables import Param, Run, Summary, Tag


class Pair(NamedTuple):
    """A param or a tag."""

    key: str
    value: str


class Figures(NamedTuple):
    """A summary, as in its table."""

    metric: str
    last: float | None
    last_step: int
    min: float | None
    max: float | None
    total: float
    finite_count: int
    count: int  # type: ignore[assignment]  # a tuple's own `count` is of no use here


_PARTS: tuple[tuple[str, type[Any], Any], ...] = (
    ("params", Param, Pair),
    ("tags", Tag, Pair),
    ("summary", Summary, Figures),
)


def load(session: Session, runs: Sequence[Run]) -> None:
    """Give runs their params, tags and summary, sorted by name, to read only."""
    ids = [run.id for run in runs]
    for name, table, kind in _PARTS:
        columns = [getattr(table, field) for field in kind._fields]
        found: dict[str, list[Any]] = {run_id: [] for run_id in ids}
        query = select(table.run_id, *columns).where(table.run_id.in_(ids)).order_by(columns[0])
        for run_id, *values in session.execute(query):
            found[run_id].append(kind(*values))
        for run in runs:
            set_committed_value(run, name, found[run.id])
