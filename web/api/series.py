"""Series of a run for charts: thinned out, of one rank or all, with the mean and range over ranks."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from flask import Blueprint, Response, request
from flask.typing import ResponseReturnValue
from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from tracker.errors import BadInput
from tracker.store import charts, runs
from tracker.store.curves import Curve
from tracker.store.exact import numbers
from tracker.store.retention import ALL
from web.api.described import described
from web.api.exchange import answer, read_query
from web.api.models import Asked, Exact, Key, Number, Told
from web.context import db, viewer

series = Blueprint("series", __name__, url_prefix="/runs")

COLUMNS = "application/octet-stream"
MOST_AS_JSON = 100_000
Place = Annotated[float, Field(allow_inf_nan=False, ge=-1e19, le=1e19)]


class Wanted(Asked):
    """Over what, how fine, and from where to where of the horizontal axis: steps, or seconds since 1970.

    Of too many points those stay that are extremes; or, with `thin=mean`, means are told, and the ranges around them.
    """

    x: Literal["step", "time"] = "step"
    max_points: int = Field(1000, ge=2, le=charts.MOST_POINTS)
    rank: Annotated[int, Field(ge=0, le=2**31)] | Literal["all", "mean"] | None = None
    attempts: Literal["last", "all"] = "last"
    x_min: Place | None = None
    x_max: Place | None = None
    thin: Literal["extremes", "mean"] = "extremes"

    def of_charts(self, max_points: int) -> charts.Asked:
        """The same for the store."""
        return charts.Asked(self.x, max_points, self.rank, self.attempts, self.x_min, self.x_max, self.thin)


class SeriesQuery(Wanted):
    """Which series, over what, and how fine: in JSON at most 100,000 points."""

    metric: Key


class _Drawn(Told):
    """What leaves out of its answer the fields that are None by default and were not set."""

    @model_serializer(mode="wrap")
    def _what_is_told(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        optional = {name for name, field in type(self).model_fields.items() if not field.is_required()}
        return {name: value for name, value in dump(self).items() if value is not None or name not in optional}


def _columns(curve: Curve) -> dict[str, list[float]]:
    columns = {"x": curve.x, "min": curve.low, "max": curve.high}
    told = {name: column.tolist() for name, column in columns.items() if column is not None}
    return {**told, "y": numbers(curve.y, curve.rests)}


class Line(_Drawn):
    """One line of a chart: of a rank, or of a node's machine (`rank` is null), in an attempt.

    Of a mean over ranks both are null. Means have `min` and `max`.
    """

    rank: int | None
    attempt: int
    node: str | None
    x: list[float]
    y: list[Exact]
    count: int
    min: list[Number] | None = None
    max: list[Number] | None = None

    @classmethod
    def of(cls, line: charts.Line) -> Line:
        """The line as the store has it."""
        return cls(rank=line.rank, attempt=line.attempt, node=line.node, count=line.count, **_columns(line.curve))


class Chart(_Drawn):
    """A series: `x` are steps, or seconds since 1970; of `count` points fewer are here if `downsampled`.

    `hidden`: so many points of earlier attempts were taken back by later ones; `attempts=all` shows them. Means
    have `min` and `max`: those of `thin=mean`, and those over so many `ranks`. `lines` come with `rank=all`,
    `attempts=all` and from machines. `points_kept` comes if it is not `all`, see the run.
    """

    metric: str
    x: list[float]
    y: list[Exact]
    count: int
    downsampled: bool
    hidden: int
    min: list[Number] | None = None
    max: list[Number] | None = None
    ranks: int | None = None
    lines: list[Line] | None = None
    lines_left_out: int | None = None
    points_kept: str | None = None

    @classmethod
    def of(cls, metric: str, chart: charts.Chart) -> Chart:
        """The chart as the store has it."""
        lines = None if chart.lines is None else [Line.of(line) for line in chart.lines]
        return cls(
            metric=metric, count=chart.count, downsampled=chart.downsampled, hidden=chart.hidden, ranks=chart.ranks,
            lines=lines, lines_left_out=None if lines is None else chart.lines_left_out,
            points_kept=None if chart.points_kept == ALL else chart.points_kept, **_columns(chart.curve),
        )  # fmt: skip


@series.get("/<run:ident>/series")
@described({"application/json": Chart, COLUMNS: None}, query=SeriesQuery)
def get(ident: str) -> ResponseReturnValue:
    """One metric for a chart; or, as columns of numbers, all of its points at once."""
    asked = read_query(SeriesQuery)
    as_columns = request.accept_mimetypes.best_match(["application/json", COLUMNS], "application/json") == COLUMNS
    if asked.max_points > MOST_AS_JSON and not as_columns:
        raise BadInput(f"More than {MOST_AS_JSON} points are answered only to those who accept {COLUMNS}.")
    with db().read() as session:
        run_id = runs.id_of(session, viewer(), ident)
        found = charts.read(session, run_id, asked.metric, asked.of_charts(asked.max_points))
        if as_columns and found.lines is None and found.curve.low is None:
            return _in_columns(asked.metric, found)
        if asked.max_points > MOST_AS_JSON:
            found = charts.read(session, run_id, asked.metric, asked.of_charts(MOST_AS_JSON))
    return answer(Chart.of(asked.metric, found))


def _in_columns(metric: str, chart: charts.Chart) -> Response:
    """All of x, as int64 or as float64 when it is time, and after it all of y, as float64; each little-endian.

    Where y is not exact, what is to be added to it follows as int64, and `rests` says so.
    """
    x, rests = chart.curve.x, chart.curve.rests
    columns = [x.astype("<f8" if x.dtype.kind == "f" else "<i8", copy=False), chart.curve.y.astype("<f8", copy=False)]
    facts = {"metric": metric, "count": chart.count, "downsampled": chart.downsampled, "hidden": chart.hidden}
    if rests is not None and rests.any():
        columns.append(rests.astype("<i8", copy=False))
        facts["rests"] = True
    response = Response(b"".join(one.tobytes() for one in columns), content_type=COLUMNS)
    response.headers["Tracker-Series"] = json.dumps(facts)
    return response
