"""The door for agents (docs/protocol.md)."""

from __future__ import annotations

from typing import Any, cast

from flask import Blueprint, Flask, current_app, jsonify, request
from flask.typing import ResponseReturnValue
from pydantic import BaseModel

from tracker import events
from tracker.actions.ingest import Door
from tracker.errors import BadManifest, Forbidden, TooMany
from tracker.settings import Settings
from tracker.store.database import Database
from web import audit
from web.api.described import described
from web.api.exchange import inflated_body
from web.context import now, viewer

ingest = Blueprint("ingest", __name__)


class Delivered(BaseModel):
    """What became of the parts of a delivery, in their order, and what the server wants next (docs/protocol.md)."""

    parts: list[dict[str, Any]]
    follow: list[dict[str, Any]]
    release: list[str]
    gpus: dict[str, list[int]]
    tell: list[dict[str, Any]]
    tokens: dict[str, str]


def install(app: Flask, settings: Settings, db: Database) -> None:
    """Give the application its door."""
    app.extensions["tracker.door"] = Door(db, settings.log_tail_bytes)


@ingest.post("/ingest")
@described(Delivered, body={events.INGEST_TYPE: None}, errors=(BadManifest, Forbidden, TooMany))
def deliver() -> ResponseReturnValue:
    """Store what an agent delivers."""
    arrived_at = now()
    body = inflated_body(events.MAX_REQUEST_BYTES)
    door = cast(Door, current_app.extensions["tracker.door"])
    answer = door.take(viewer(), body, arrived_at)
    if not viewer().reports_all:
        _note_refusals(answer["parts"])
    return jsonify(answer)


def _note_refusals(parts: list[dict[str, Any]]) -> None:
    """Write down that somebody would have delivered what is not theirs: of parts that say the same the first one."""
    refused = [part["error"]["detail"] for part in parts if part.get("error", {}).get("code") == Forbidden.code]
    if refused:
        more = f" ({len(refused)} parts were refused)" if len(refused) > 1 else ""
        audit.note_refusal("refused", f"{request.method} {request.path}", refused[0] + more)
