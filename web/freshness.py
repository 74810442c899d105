"""Who is answered from the replica, if there is one: those who look, unless they have just changed something.

After a change a cookie tells all servers, for some seconds, that this browser or program wants to see what it did.
A program that keeps no cookies says `Cache-Control: no-cache` where it matters.
"""

from __future__ import annotations

from flask import Flask, Response, current_app, request

_COOKIE = "tracker_fresh"
_READ_ONLY = ("GET", "HEAD")
_LOOKS = ("api.many_series.read",)  # asked by POST, as it is long
_DELIVERIES = ("api.ingest.deliver",)  # agents look at nothing


def install(app: Flask) -> None:
    """Note who changes something."""
    app.after_request(_note)


def may_lag() -> bool:
    """Whether this request may be answered with what was so some seconds ago."""
    return only_looks() and not request.cache_control.no_cache and _COOKIE not in request.cookies


def only_looks() -> bool:
    """Whether this request changes nothing."""
    return request.method in _READ_ONLY or request.endpoint in _LOOKS


def _note(response: Response) -> Response:
    database = current_app.extensions["tracker.database"]
    changed = not only_looks() and request.method != "OPTIONS" and response.status_code < 400
    if database.replica is not None and changed and request.endpoint not in _DELIVERIES:
        response.set_cookie(
            _COOKIE, "1", max_age=database.replica.fresh_for_s, path=request.script_root or "/", httponly=True,
            samesite="Lax", secure=request.is_secure,
        )  # fmt: skip
    return response
