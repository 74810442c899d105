"""What changes, as it changes: server-sent events."""

from __future__ import annotations

import socket
from datetime import datetime, timezone
from typing import Annotated, cast

from flask import Blueprint, Flask, Response, current_app, request
from flask.typing import ResponseReturnValue
from pydantic import Field

from tracker.errors import Unavailable
from tracker.settings import Settings
from tracker.store.database import Database
from web.api.described import described
from web.api.exchange import read_query
from web.api.models import NoQuery
from web.context import viewer
from web.stream.client import Client, take_over
from web.stream.hub import Hub

stream = Blueprint("stream", __name__)

_LATEST_US = 253_402_300_799_000_000


class StreamQuery(NoQuery):
    """The `id` of the last event that was heard; a browser says it by the header `Last-Event-ID` when it comes back."""

    last_event_id: Annotated[int, Field(ge=0, le=_LATEST_US)] | None = None


def install(app: Flask, settings: Settings, db: Database) -> None:
    """Give the application what feeds its clients."""
    app.extensions["tracker.stream"] = Hub(db, settings.stream_clients)


@stream.get("/stream")
@described({"text/event-stream": None}, query=StreamQuery, errors=(Unavailable,))
def listen() -> ResponseReturnValue:
    """Server-sent events: runs, their series and the queue's clusters, when they change."""
    asked = read_query(StreamQuery)
    response = Response(
        content_type="text/event-stream", headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    )
    if request.method == "HEAD":
        return response
    hub, person = cast(Hub, current_app.extensions["tracker.stream"]), viewer()
    connection = request.environ.get("gunicorn.socket") or request.environ.get("werkzeug.socket")
    if connection is None:
        raise Unavailable("This server cannot keep connections open; ask for `/runs` from time to time.")
    hub.reserve(person.user)
    chunked, away_since = request.environ.get("SERVER_PROTOCOL") == "HTTP/1.1", _away_since(asked.last_event_id)
    kept, left = [False], cast("list[socket.socket]", [])

    def keep(taken: socket.socket) -> None:
        kept[0] = True
        hub.add(Client(taken, person, chunked=chunked, away_since=away_since))

    def end() -> None:
        for one in left:
            one.close()
        if not kept[0]:  # the client went away before it began
            hub.free(person.user)

    response.response = take_over(connection, keep, left)
    response.call_on_close(end)
    return response


def _away_since(said: int | None) -> datetime | None:
    header = request.headers.get("Last-Event-ID", "")
    moment_us = said if said is not None else int(header) if header.isdecimal() and len(header) < 18 else None
    return None if moment_us is None else datetime.fromtimestamp(moment_us / 1e6, timezone.utc)
