"""Series of many runs and metrics in one request, as a page that compares runs needs them."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from flask import Blueprint
from flask.typing import ResponseReturnValue
from pydantic import Field

from tracker.errors import BadInput, NotFound
from tracker.store import charts, runs
from web.api import series
from web.api.described import described
from web.api.exchange import answer, read_body, read_query
from web.api.models import Key, NoQuery, Told
from web.context import db, viewer

many_series = Blueprint("many_series", __name__)

MOST_SERIES = 500
MOST_POINTS = 400_000


class SeriesOfRuns(series.Wanted):
    """Runs by their ids, metrics, and how fine: `max_points` is for each series."""

    runs: Annotated[list[UUID], Field(min_length=1, max_length=100)]
    metrics: Annotated[list[Key], Field(min_length=1, max_length=100)]


class ChartOfRun(series.Chart):
    """A series and the id of its run."""

    run: str


class Charts(Told):
    """The series that there are, by run and metric in the order in which they were asked for."""

    items: list[ChartOfRun]


@many_series.post("/series")
@described(Charts, body=SeriesOfRuns, errors=(NotFound,))
def read() -> ResponseReturnValue:
    """Series of runs for charts; what a run did not log is left out."""
    read_query(NoQuery)
    asked = read_body(SeriesOfRuns)
    ids, metrics = list(dict.fromkeys(map(str, asked.runs))), list(dict.fromkeys(asked.metrics))
    count = len(ids) * len(metrics)
    if count > MOST_SERIES or count * asked.max_points > MOST_POINTS:
        raise BadInput(f"One request is answered with at most {MOST_SERIES} series and {MOST_POINTS} points of them.")
    with db().read() as session:
        runs.ids_of(session, viewer(), ids)
        found = charts.read_many(session, ids, metrics, asked.of_charts(asked.max_points))
    wanted = ((run_id, metric) for run_id in ids for metric in metrics if (run_id, metric) in found)
    return answer(Charts(items=[_item(run_id, metric, found[run_id, metric]) for run_id, metric in wanted]))


def _item(run_id: str, metric: str, chart: charts.Chart) -> ChartOfRun:
    return ChartOfRun(run=run_id, **dict(series.Chart.of(metric, chart)))
