"""Images, histograms and tables that a run logged."""

from __future__ import annotations

from typing import Any, Literal

from flask import Blueprint, Response, request
from flask.typing import ResponseReturnValue
from pydantic import BaseModel, ConfigDict, Field

from tracker.store import media as store
from tracker.store import runs
from tracker.store.tables import Medium as Stored
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
    """Something that a rank logged at a step; its content is at `/runs/{id}/media/{id}`."""

    model_config = ConfigDict(from_attributes=True)
    id: str
    kind: str
    name: str
    step: int
    logged_at: Time
    rank: int
    size_bytes: int
    content_type: str

    @classmethod
    def of(cls, stored: Stored, rank: int) -> Medium:
        """The medium as the store has it."""
        told = {name: getattr(stored, name) for name in cls.model_fields if name != "rank"}
        return cls(**told, rank=rank)


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
def find(ident: str) -> ResponseReturnValue:
    """What a run logged, of all ranks, without content."""
    asked = read_query(MediaQuery)
    with db().read() as session:
        run = runs.get(session, viewer(), ident)
        found = store.find(session, run.id, kind=asked.kind, name=asked.name)
    return answer(MediaList(items=[Medium.of(medium, rank) for medium, rank in found]))


@media.get("/<run:ident>/media/histograms")
def histograms(ident: str) -> ResponseReturnValue:
    """The histograms of one name over steps, of the lowest rank that logged them."""
    asked = read_query(HistogramsQuery)
    with db().read() as session:
        run = runs.get(session, viewer(), ident)
        found = store.histograms(session, run.id, asked.name, asked.max_steps)
    columns: dict[str, Any] = {
        column: [one[column] for one in found.histograms] for column in ("low", "high", "counts", "not_finite")
    }
    return answer(Histograms(name=asked.name, steps=found.steps, count=found.count, **columns))


@media.get("/<run:ident>/media/<run:medium>")
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
