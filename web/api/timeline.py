"""What happened to a run, with who said so."""

from __future__ import annotations

from flask import Blueprint
from flask.typing import ResponseReturnValue
from pydantic import BaseModel, ConfigDict

from tracker.store import runs, timeline
from web.api.described import described
from web.api.exchange import answer, read_query
from web.api.models import NoQuery, Time
from web.context import db, viewer

timelines = Blueprint("timelines", __name__, url_prefix="/runs")


class Fact(BaseModel):
    """Something that happened, and who told it: `accounting`, `controller`, `hook` or `client`.

    `what` is submitted, eligible, pending, allocated, prolog, suspended, resumed, epilog, requeued, ended or final.
    `detail`: why it was pending, the state of an end, the nodes. `changes`: so many changes of the reason came after
    the last one that is kept by itself; `detail` is the newest.
    """

    model_config = ConfigDict(from_attributes=True)
    at: Time
    what: str
    detail: str | None
    source: str
    attempt: int | None
    changes: int


class Span(BaseModel):
    """What a run did for a while: pending (with Slurm's reason), running or suspended; `ended_at` null: still."""

    model_config = ConfigDict(from_attributes=True)
    doing: str
    started_at: Time
    ended_at: Time | None
    attempt: int | None
    reason: str | None


class Timeline(BaseModel):
    """Facts and spans, the first one first; of more than 1,000 the last ones, and then it is not `complete`."""

    model_config = ConfigDict(from_attributes=True)
    facts: list[Fact]
    spans: list[Span]
    complete: bool


@timelines.get("/<run:ident>/timeline")
@described(Timeline)
def show(ident: str) -> ResponseReturnValue:
    """What happened to a run and when, each fact with its source."""
    read_query(NoQuery)
    with db().read() as session:
        found = timeline.read(session, runs.get(session, viewer(), ident))
    return answer(Timeline.model_validate(found))
