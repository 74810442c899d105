"""Points that programs without a spool send."""

from __future__ import annotations

from typing import Annotated

from flask import Blueprint
from flask.typing import ResponseReturnValue
from pydantic import BaseModel, ConfigDict, Field

from tracker.actions import add_points as action
from tracker.errors import Conflict
from tracker.store import runs
from web.api.described import described
from web.api.exchange import answer, read_body, read_query
from web.api.models import Asked, Count, Figure, Name, NoQuery, Past, Step
from web.context import db, now, viewer

points = Blueprint("points", __name__, url_prefix="/runs")

MOST_POINTS = 10_000


class Point(Asked):
    """A value of a metric. Without `step` the steps count on, without `time` it is now."""

    metric: Name
    value: Figure
    step: Step | None = None
    time: Past | None = None


class NewPoints(Asked):
    """Points, in the order in which they were logged.

    `offset` is the number of the first of them among all that this `writer` sends to the run, counted from 0: those
    that the server has already are left out, so that a request may be repeated. Without it all are stored.
    """

    points: Annotated[list[Point], Field(min_length=1, max_length=MOST_POINTS)]
    writer: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,40}$")] | None = None
    offset: Count | None = None


class Stored(BaseModel):
    """So many of the points were new; the next one of this writer has the number `offset`."""

    model_config = ConfigDict(from_attributes=True)
    stored: int
    offset: int


@points.post("/<run:ident>/metrics")
@described(Stored, body=NewPoints, errors=(Conflict,))
def add(ident: str) -> ResponseReturnValue:
    """Store points of a run."""
    read_query(NoQuery)
    asked = read_body(NewPoints)
    told = [action.Point(one.metric, _figure(one.value), one.step, one.time) for one in asked.points]
    with db().write() as session:
        run = runs.get_locked(session, viewer(), ident)
        added = action.add_points(session, run, told, writer=asked.writer or "", offset=asked.offset, now=now())
    return answer(Stored.model_validate(added))


def _figure(value: float | str) -> float:
    return float(value) if isinstance(value, str) else value
