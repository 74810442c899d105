"""Who is asking: a program with a token, or a browser with a session."""

from __future__ import annotations

from typing import cast
from urllib.parse import urlsplit

from flask import Flask, current_app, g, redirect, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug.urls import iri_to_uri

from tracker.errors import Forbidden, Unauthenticated
from tracker.store import tokens
from tracker.store.identity import Identity
from web.auth.agents import Agents
from web.auth.session import cookie_name, login
from web.context import db, primary
from web.problems import for_programs

_OPEN_TO_ALL = {"static", "health.healthz", "health.readyz", "login.enter", "login.redeem", "api.openapi.show"}
_SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}


def install(app: Flask) -> None:
    """Let nobody in who is not known, except to the few addresses that are for everybody."""
    app.extensions["tracker.agents"] = Agents()
    app.before_request(_admit)
    app.register_blueprint(login)


def _admit() -> ResponseReturnValue | None:
    bearer, cookie = _bearer(), request.cookies.get(cookie_name())
    by_browser = cookie is not None or request.endpoint in _OPEN_TO_ALL
    if bearer is None and by_browser and request.method not in _SAFE_METHODS:
        _require_same_origin()
    if request.endpoint in _OPEN_TO_ALL or request.method == "OPTIONS":
        return None
    g.identity = _identify(bearer, cookie)
    if g.identity is not None:
        return None
    if for_programs() or bearer is not None or request.method not in _SAFE_METHODS:
        raise Unauthenticated("Show a valid token: `Authorization: Bearer …`; `tracker token create` makes one.")
    back = iri_to_uri(request.full_path if request.query_string else request.path)
    return redirect(url_for("login.enter", next=None if back == "/" else back), 303)


def _bearer() -> str | None:
    scheme, _, secret = request.headers.get("Authorization", "").partition(" ")
    return secret.strip() if scheme.lower() == "bearer" else None


def _identify(bearer: str | None, cookie: str | None) -> Identity | None:
    if bearer is None and cookie is None:
        return None
    agents = cast(Agents, current_app.extensions["tracker.agents"])
    known = agents.known(bearer) if bearer else None
    if known:
        return known
    secret, purposes = (cookie or "", (tokens.SESSION,)) if bearer is None else (bearer, (tokens.API, tokens.NODE))
    for database in dict.fromkeys((db(), primary())):  # a replica may not know yet who has just come
        found = database.answer(lambda asked: tokens.identify(asked, secret, purposes))
        if found:
            agents.remember(secret, found)
            return found
    return None


def _require_same_origin() -> None:
    """A browser sends the cookie along with requests of foreign pages, too; refuse those."""
    site = request.headers.get("Sec-Fetch-Site")
    if site is None:  # browsers leave it out on plain http
        origin = urlsplit(request.headers.get("Origin", ""))
        site = "same-origin" if origin.netloc == request.host else "cross-site"
    if site not in ("same-origin", "none"):
        raise Forbidden("This request comes from a page of another site.")
