"""Series of a run for charts: thinned out, of one rank or all, with the mean and range over ranks."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from flask import Blueprint
from flask.typing import ResponseReturnValue
from pydantic import BaseModel, Field, SerializerFunctionWrapHandler, model_serializer

from tracker.store import charts, runs
from tracker.store.curves import Curve
from web.api.described import described
from web.api.exchange import answer, read_query
from web.api.models import Key, NoQuery, Number
from web.context import db, viewer

series = Blueprint("series", __name__, url_prefix="/runs")


class SeriesQuery(NoQuery):
    """Which series, over what, and how fine."""

    metric: Key
    x: Literal["step", "time"] = "step"
    max_points: int = Field(1000, ge=2, le=100_000)
    rank: Annotated[int, Field(ge=0, le=2**31)] | Literal["all", "mean"] | None = None
    attempts: Literal["last", "all"] = "last"


class _Drawn(BaseModel):
    """What leaves out of its answer the fields that are None by default and were not set."""

    @model_serializer(mode="wrap")
    def _what_is_told(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        optional = {name for name, field in type(self).model_fields.items() if not field.is_required()}
        return {name: value for name, value in dump(self).items() if value is not None or name not in optional}


def _columns(curve: Curve) -> dict[str, list[float]]:
    columns = {"x": curve.x, "y": curve.y, "min": curve.low, "max": curve.high}
    return {name: column.tolist() for name, column in columns.items() if column is not None}


class Line(_Drawn):
    """One line of a chart: of a rank, or of a node's machine (`rank` is null), in an attempt.

    Of a mean both are null, and it has `min` and `max`.
    """

    rank: int | None
    attempt: int
    node: str | None
    x: list[float]
    y: list[Number]
    count: int
    min: list[Number] | None = None
    max: list[Number] | None = None

    @classmethod
    def of(cls, line: charts.Line) -> Line:
        """The line as the store has it."""
        return cls(rank=line.rank, attempt=line.attempt, node=line.node, count=line.count, **_columns(line.curve))


class Chart(_Drawn):
    """A series: `x` are steps, or seconds since 1970; of `count` points fewer are here if `downsampled`.

    `hidden`: so many points of earlier attempts were taken back by later ones; `attempts=all` shows them. Only a mean
    has `min` and `max`, over so many `ranks`. `lines` come with `rank=all`, `attempts=all` and from machines.
    """

    metric: str
    x: list[float]
    y: list[Number]
    count: int
    downsampled: bool
    hidden: int
    min: list[Number] | None = None
    max: list[Number] | None = None
    ranks: int | None = None
    lines: list[Line] | None = None
    lines_left_out: int | None = None

    @classmethod
    def of(cls, metric: str, chart: charts.Chart) -> Chart:
        """The chart as the store has it."""
        lines = None if chart.lines is None else [Line.of(line) for line in chart.lines]
        return cls(
            metric=metric, count=chart.count, downsampled=chart.downsampled, hidden=chart.hidden, ranks=chart.ranks,
            lines=lines, lines_left_out=None if lines is None else chart.lines_left_out, **_columns(chart.curve),
        )  # fmt: skip


@series.get("/<run:ident>/series")
@described(Chart, query=SeriesQuery)
def get(ident: str) -> ResponseReturnValue:
    """One metric for a chart."""
    asked = read_query(SeriesQuery)
    with db().read() as session:
        run = runs.get(session, viewer(), ident)
        found = charts.read(
            session, run.id, asked.metric, x=asked.x, max_points=asked.max_points, rank=asked.rank,
            attempts=asked.attempts,
        )  # fmt: skip
    return answer(Chart.of(asked.metric, found))
