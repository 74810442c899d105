"""Runs and series as tables for other programs, streamed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta, timezone
from itertools import chain
from typing import Annotated, Any, Literal

from flask import Blueprint, Response
from flask.typing import ResponseReturnValue
from pydantic import BaseModel, Field

from tracker.errors import BadFilter, TooLarge
from tracker.store import exports as store
from tracker.store import runs as found_runs
from tracker.store import tables
from tracker.store.database import Session
from tracker.store.exports import Names
from tracker.store.points import Points
from tracker.store.search.pages import Search
from web.api.described import described
from web.api.exchange import read_query
from web.api.models import Key, RunsAsked
from web.api.runs import filtered
from web.api.tabular import CONTENT_TYPES, WRITERS, Column, Part
from web.context import db, viewer

exports = Blueprint("exports", __name__)

_TEXTS = "id parent_id experiment name user account partition state state_source reason cluster work_dir command"
_INTEGERS = "job_id array_job_id array_task_id het_job_id exit_code signal restarts gpus_requested time_limit_s"
_TIMES = "created_at submitted_at started_at ended_at"
_FACTS = [
    *(Column(name, "text") for name in _TEXTS.split()),
    *(Column(name, "integer") for name in _INTEGERS.split()),
    *(Column(name, "time") for name in _TIMES.split()),
]
_SERIES = [
    Column("run", "text"), Column("metric", "text"), Column("step", "integer"), Column("time", "time"),
    Column("value", "number"), Column("rank", "integer"), Column("attempt", "integer"),
]  # fmt: skip
_INTEGER = Column("value_integer", "integer")
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


class ExportQuery(RunsAsked):
    """Which runs, and as what."""

    format: Literal["csv", "parquet"] = "csv"


class SeriesExportQuery(ExportQuery):
    """Which runs, as what, and which metrics of them; all if none is named."""

    metric: Annotated[list[Key], Field(max_length=1000)] = []  # noqa: RUF012


_ANSWERS: dict[str, type[BaseModel] | None] = dict.fromkeys(CONTENT_TYPES.values())


@exports.get("/runs:export")
@described(_ANSWERS, query=ExportQuery, errors=(BadFilter, TooLarge))
def export_runs() -> ResponseReturnValue:
    """All runs that fit, a row a run: facts, `params.NAME`, `tags.NAME`, and of each metric the last value."""
    asked = read_query(ExportQuery)
    return _streamed("runs", asked.format, _run_table(asked.format, found_runs.search(viewer(), **filtered(asked))))


@exports.get("/runs:export-series")
@described(_ANSWERS, query=SeriesExportQuery, errors=(BadFilter,))
def export_series() -> ResponseReturnValue:
    """All points of all runs that fit, a row a point, exactly as they were logged.

    In Parquet, whose `value` is a float64, a whole number that is none stands in `value_integer` as well.
    """
    asked = read_query(SeriesExportQuery)
    found = found_runs.search(viewer(), **filtered(asked))
    return _streamed("series", asked.format, _series_table(asked.format, found, asked.metric))


def _streamed(name: str, kind: str, pieces: Iterator[bytes]) -> Response:
    first = next(pieces)  # what goes wrong before there is anything to send is told as always
    response = Response(chain([first], pieces), content_type=CONTENT_TYPES[kind])
    response.headers["Content-Disposition"] = f'attachment; filename="{name}.{kind}"'
    return response


def _run_table(kind: str, found: Search) -> Iterator[bytes]:
    with db().read() as session:
        names = store.names(session, found)
        columns = [
            *_FACTS, *(Column(f"params.{one}", "text") for one in names.params),
            *(Column(f"tags.{one}", "text") for one in names.tags),
            *(Column(f"metrics.{one}", "number") for one in names.metrics),
        ]  # fmt: skip
        yield from WRITERS[kind](columns, _run_parts(session, found, names))


def _run_parts(session: Session, found: Search, names: Names) -> Iterator[Part]:
    for ids in store.pages(session, found):
        runs = store.runs(session, ids)
        params = [{one.key: one.value for one in run.params} for run in runs]
        tags = [{one.key: one.value for one in run.tags} for run in runs]
        metrics = [{one.metric: float("nan") if one.last is None else one.last for one in run.summary} for run in runs]
        yield [
            *([_fact(run, column.name) for run in runs] for column in _FACTS),
            *([one.get(name) for one in params] for name in names.params),
            *([one.get(name) for one in tags] for name in names.tags),
            *([one.get(name) for one in metrics] for name in names.metrics),
        ]


def _fact(run: tables.Run, name: str) -> Any:
    return run.experiment.name if name == "experiment" else getattr(run, name)


def _series_table(kind: str, found: Search, metrics: Sequence[str]) -> Iterator[bytes]:
    with db().read() as session:
        told, columns = (_as_told, _SERIES) if kind == "csv" else (_as_floats, [*_SERIES, _INTEGER])
        yield from WRITERS[kind](columns, _series_parts(session, found, metrics, told))


def _as_told(points: Points) -> tuple[list[float], list[list[Any]]]:
    return points.numbers(), []


def _as_floats(points: Points) -> tuple[list[float], list[list[Any]]]:
    """The values as float64, and a column of those that are whole numbers and no float64."""
    if points.rests is None:
        return points.values.tolist(), [[None] * len(points)]
    return points.values.tolist(), [[one if type(one) is int else None for one in points.numbers()]]


def _series_parts(
    session: Session, found: Search, metrics: Sequence[str], told: Callable[[Points], tuple[list[float], list[Any]]]
) -> Iterator[Part]:  # fmt: skip
    for ids in store.pages(session, found):
        for run_id in ids:
            for one in store.points(session, run_id, metrics):
                count = len(one.points)
                values, more = told(one.points)
                times = [_EPOCH + timedelta(microseconds=at) for at in one.points.times_us.tolist()]
                yield [
                    [run_id] * count, [one.metric] * count, one.points.steps.tolist(), times,
                    values, [one.rank] * count, [one.attempt] * count, *more,
                ]  # fmt: skip
