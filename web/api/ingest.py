"""The door for agents (docs/protocol.md)."""

from __future__ import annotations

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue

from tracker import events
from tracker.actions.ingest import ingest as store
from web.api.exchange import inflated_body
from web.context import db, now, settings, viewer

ingest = Blueprint("ingest", __name__)


@ingest.post("/ingest")
def deliver() -> ResponseReturnValue:
    """Store what an agent delivers."""
    arrived_at = now()
    body = inflated_body(events.MAX_REQUEST_BYTES)
    return jsonify(store(db(), viewer(), body, arrived_at, settings().log_tail_bytes))
