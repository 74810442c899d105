"""Logs: JSON lines on stderr, one a request, under the id by which the request and its problem are known elsewhere."""

from __future__ import annotations

import json
import logging
import random
import re
import time
from datetime import datetime, timezone
from typing import Any, cast

from flask import Flask, Response, g, request

from web import peers

log = logging.getLogger("tracker.requests")

_SANE_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}\Z")
_MOST_CHARS = 500


class JsonLines(logging.Formatter):
    """A line of JSON for each record. All text in it is escaped: nothing that a user sends looks like another line."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        told: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "facts", {}),
        }
        if record.exc_info:
            told["traceback"] = self.formatException(record.exc_info)
        return json.dumps(told, default=str)


def request_id() -> str:
    """By what this request is known: what the client or a proxy calls it, if that is sane."""
    if "request_id" not in g:
        said = request.headers.get("X-Request-ID", "")
        g.request_id = said if _SANE_ID.match(said) else _new_id()
    return cast(str, g.request_id)


def _new_id() -> str:
    return f"{random.getrandbits(64):016x}"  # to ask the kernel, as for secrets, costs as much as the line in the log


def install(app: Flask) -> None:
    """Let every request have an id and, where the log wants it, a line."""
    app.before_request(_begin)
    app.after_request(_end)


def _begin() -> None:
    g.began_s = time.perf_counter()


def _end(response: Response) -> Response:
    response.headers["X-Request-ID"] = request_id()
    if log.isEnabledFor(logging.INFO):
        log.info("request", extra={"facts": _facts(response)})
    return response


def _facts(response: Response) -> dict[str, Any]:
    """Never the query: it may hold a login's secret."""
    identity = g.get("identity")
    return {
        "request_id": request_id(),
        "method": request.method[:20],
        "path": request.path[:_MOST_CHARS],
        "status": response.status_code,
        "ms": round((time.perf_counter() - g.began_s) * 1000, 2) if "began_s" in g else None,
        "bytes": response.content_length,
        "user": identity.user if identity else None,
        "address": peers.address(),
    }
