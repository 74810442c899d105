"""Points that come by the API, one request at a time, into the same store as those of spools."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from tracker.actions.read_points import MAX_STEP
from tracker.errors import BadInput, Conflict
from tracker.store import heard, series, silence, summaries, writers
from tracker.store.database import Session
from tracker.store.points import Points
from tracker.store.tables import Run, Writer


@dataclass
class Column:
    """Points of one metric, in the order written."""

    steps: list[int] = field(default_factory=list)
    times_us: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)


class Point(NamedTuple):
    """A value of a metric; without a step the steps count on, without a time it is now."""

    metric: str
    value: float
    step: int | None
    time: datetime | None


@dataclass(frozen=True)
class Added:
    """So many of the points were new; the next one of this writer has the number `offset`."""

    stored: int
    offset: int


def add_points(
    session: Session, run: Run, points: Sequence[Point], *, writer: str, offset: int | None, now: datetime
) -> Added:
    """Put points to the end of what this writer sent to a run, which the caller holds locked.

    `offset` is the number of the first of them, counted from 0: those that the store has already are left out, so a
    request may be repeated. Without it all are new. Raises Conflict when points before them are missing, BadInput when
    the run has too many metrics.
    """
    held = writers.lock(session, run.id, f"api-{writer}" if writer else "api")
    known = 0 if offset is None else held.offset_bytes - offset
    if known < 0:
        raise Conflict(f"The server has {held.offset_bytes} points of this writer; send those from there on first.")
    fresh = points[known:]
    if fresh:
        _store(session, run, held, fresh, now)
        silence.heard(run)
        held.offset_bytes += len(fresh)
    return Added(len(fresh), held.offset_bytes)


def _store(session: Session, run: Run, writer: Writer, points: Sequence[Point], now: datetime) -> None:
    if writer.restarts is None:
        writer.restarts = writers.restarts_now(session, run)
    if writer.first_step is None:
        writer.next_step = writers.goes_on_at(session, writer)
    columns: dict[str, Column] = {}
    for point in points:
        column = columns.setdefault(point.metric, Column())
        step = point.step if point.step is not None else _next_step(writer, column)
        column.steps.append(step)
        column.times_us.append(round((point.time or now).timestamp() * 1_000_000))
        column.values.append(point.value)
    _note_steps(writer, columns)
    told = {name: Points.of(one.steps, one.times_us, one.values) for name, one in columns.items()}
    too_many = series.append(session, writer, told)
    if too_many:
        raise BadInput(f"A run has at most {summaries.MOST_METRICS} metrics; `{too_many[0][:80]}` is one too many.")
    heard.stamp(run, now)


def _next_step(writer: Writer, column: Column) -> int:
    return min(column.steps[-1] + 1, MAX_STEP) if column.steps else writer.next_step


def _note_steps(writer: Writer, columns: dict[str, Column]) -> None:
    """The writer's first step, and the one with which its next points go on."""
    firsts = [column.steps[0] for column in columns.values()]
    lasts = [column.steps[-1] for column in columns.values()]
    if writer.first_step is None:
        writer.first_step = min(firsts)
    writer.next_step = min(max(lasts) + 1, MAX_STEP)
