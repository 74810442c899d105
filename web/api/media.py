"""Images, histograms and tables that a run logged."""

from __future__ import annotations

from typing import Any, Literal

from flask import Blueprint, Response, request
from flask.typing import ResponseReturnValue
from pydantic import BaseModel, ConfigDict, Field

from tracker.store import media as store
from tracker.store import runs
from web.api.described import described
from web.api.exchange import answer, read_query
from web.api.models import Key, NoQuery, Time
from web.context import db, viewer
from web.headers import FOREVER, NOTHING_BUT_ITSELF

media = Blueprint("media", __name__, url_prefix="/runs")

Kind = Literal[store.KINDS]  # type: ignore[valid-type]


class MediaQuery(NoQuery):
    """Which media; without a name all of the run."""

    kind: Kind | None = None
    name: Key | None = None


class HistogramsQuery(NoQuery):
    """Which histograms, and how many of them at most."""

    name: Key
    max_steps: int = Field(200, ge=2, le=2000)


class Medium(BaseModel):
    """Something that a rank logged at a step in an attempt; its content is at `/runs/{id}/media/{id}`.

    `shown`: of the lowest rank, and not logged again at this step or by a later attempt that begins before it.
    """

    model_config = ConfigDict(from_attributes=True)
    id: str
    kind: str
    name: str
    step: int
    logged_at: Time
    rank: int
    attempt: int
    shown: bool
    size_bytes: int
    content_type: str

    @classmethod
    def of(cls, found: store.Found) -> Medium:
        """The medium as the store has it."""
        told: dict[str, Any] = {"rank": found.rank, "attempt": found.attempt, "shown": found.is_shown}
        return cls(**{name: getattr(found.medium, name) for name in cls.model_fields if name not in told}, **told)


class MediaList(BaseModel):
    """Media by kind, name, step and time."""

    items: list[Medium]
    next_cursor: str | None = None


class Histograms(BaseModel):
    """Histograms over steps: `counts` in equal bins from `low` to `high`. Of `count` fewer are here if thinned out."""

    name: str
    steps: list[int]
    low: list[float]
    high: list[float]
    counts: list[list[int]]
    not_finite: list[dict[str, int]]
    count: int


@media.get("/<run:ident>/media")
@described(MediaList, query=MediaQuery)
def find(ident: str) -> ResponseReturnValue:
    """What a run logged, of all ranks, without content."""
    asked = read_query(MediaQuery)
    with db().read() as session:
        run = runs.get(session, viewer(), ident)
        found = store.find(session, run.id, kind=asked.kind, name=asked.name)
    return answer(MediaList(items=[Medium.of(one) for one in found]))


@media.get("/<run:ident>/media/histograms")
@described(Histograms, query=HistogramsQuery)
def histograms(ident: str) -> ResponseReturnValue:
    """The histograms of one name over steps, those that are to be shown."""
    asked = read_query(HistogramsQuery)
    with db().read() as session:
        run = runs.get(session, viewer(), ident)
        found = store.histograms(session, run.id, asked.name, asked.max_steps)
    columns: dict[str, Any] = {
        column: [one[column] for one in found.histograms] for column in ("low", "high", "counts", "not_finite")
    }
    return answer(Histograms(name=asked.name, steps=found.steps, count=found.count, **columns))


@media.get("/<run:ident>/media/<run:medium>")
@described({"application/json": None, "image/*": None})
def content(ident: str, medium: str) -> ResponseReturnValue:
    """One image, or one histogram or table as JSON. It never changes."""
    read_query(NoQuery)
    with db().read() as session:
        run = runs.get(session, viewer(), ident)
        found = store.get(session, run.id, medium)
    response = Response(found.content, content_type=found.content_type)
    response.headers["Cache-Control"] = FOREVER
    response.headers["Content-Security-Policy"] = NOTHING_BUT_ITSELF
    response.add_etag()
    return response.make_conditional(request)
