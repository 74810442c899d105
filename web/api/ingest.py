"""The door for agents (docs/protocol.md)."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue
from pydantic import BaseModel

from tracker import events
from tracker.actions.ingest import ingest as store
from tracker.errors import BadManifest, Forbidden
from web.api.described import described
from web.api.exchange import inflated_body
from web.context import db, now, settings, viewer

ingest = Blueprint("ingest", __name__)


class Delivered(BaseModel):
    """What became of the parts of a delivery, in their order, and what the server wants next (docs/protocol.md)."""

    parts: list[dict[str, Any]]
    follow: list[dict[str, Any]]
    release: list[str]
    gpus: dict[str, list[int]]
    tell: list[dict[str, Any]]


@ingest.post("/ingest")
@described(Delivered, body={events.INGEST_TYPE: None}, errors=(BadManifest, Forbidden))
def deliver() -> ResponseReturnValue:
    """Store what an agent delivers."""
    arrived_at = now()
    body = inflated_body(events.MAX_REQUEST_BYTES)
    return jsonify(store(db(), viewer(), body, arrived_at, settings().log_tail_bytes))
