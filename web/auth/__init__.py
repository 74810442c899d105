"""Who is asking: a program with a token, or a browser with a session."""

from __future__ import annotations

from typing import cast

from flask import Flask, current_app, g, redirect, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug.urls import iri_to_uri

from tracker.errors import Forbidden, Unauthenticated
from tracker.settings import Settings
from tracker.store import job_tokens, tokens
from tracker.store.database import Connection, Session
from tracker.store.identity import Identity
from tracker.store.tokens import Shown
from web import freshness
from web.auth import attempts, proxy, ways
from web.auth.agents import Agents
from web.auth.origin import require_same_origin
from web.auth.session import cookie_name, login
from web.auth.uses import Uses
from web.context import db, primary
from web.problems import for_programs

OPEN_TO_ALL = {
    "static",
    "health.healthz",
    "health.readyz",
    "login.enter",
    "login.redeem",
    "api.openapi.show",
    "oidc.go",
    "oidc.back",
}
"""Endpoints at which nobody needs to be known."""
OPEN_TO_PROGRAMS = {"api.tokens.renew", "api.tokens.log_in", "api.munge.enter"}
"""Open, too, by a secret in the body: cookies do not count there, so no page of another site can use one."""
_SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}
_OF_JOBS = {"api.ingest.deliver", "api.points.add", "api.run_changes.change_one"}
_NEED_NO_SCOPE = {"api.ingest.deliver", "login.leave"}  # the door looks itself; leaving is for everybody


def install(app: Flask, settings: Settings) -> None:
    """Let nobody in who is not known, except to the few addresses that are for everybody."""
    app.extensions["tracker.agents"] = Agents()
    app.extensions["tracker.uses"] = Uses()
    attempts.install(app, settings)
    ways.install(app, settings)
    proxy.install(app, settings)
    app.before_request(_admit)
    app.register_blueprint(login)


def _admit() -> ResponseReturnValue | None:
    if request.endpoint in OPEN_TO_PROGRAMS:
        return None
    bearer, cookie = _bearer(), request.cookies.get(cookie_name())
    by_proxy = proxy.shown() if bearer is None else None
    by_browser = cookie is not None or by_proxy is not None or request.endpoint in OPEN_TO_ALL
    if bearer is None and by_browser and request.method not in _SAFE_METHODS:
        require_same_origin()
    if request.endpoint in OPEN_TO_ALL or request.method == "OPTIONS":
        return None
    shown = by_proxy or _shown(bearer, cookie)
    if shown is not None:
        g.shown, g.identity = shown, shown.identity
        _require_scope(shown.identity)
        return None
    if for_programs() or bearer is not None or request.method not in _SAFE_METHODS:
        raise Unauthenticated("Show a valid token: `Authorization: Bearer …`; `tracker token create` makes one.")
    back = iri_to_uri(request.full_path if request.query_string else request.path)
    return redirect(url_for("login.enter", next=None if back == "/" else back), 303)


def _bearer() -> str | None:
    scheme, _, secret = request.headers.get("Authorization", "").partition(" ")
    return secret.strip() if scheme.lower() == "bearer" else None


def _shown(bearer: str | None, cookie: str | None) -> Shown | None:
    if bearer is None and cookie is None:
        return None
    agents = cast(Agents, current_app.extensions["tracker.agents"])
    known = agents.known(bearer) if bearer else None
    if known:
        return known
    secret, purposes = (cookie or "", (tokens.SESSION,)) if bearer is None else (bearer, tokens.BEARERS)
    for database in dict.fromkeys((db(), primary())):  # a replica may not know yet who has just come
        found = database.answer(lambda asked: _recognised(asked, secret, purposes))
        if found:
            agents.remember(secret, found)
            cast(Uses, current_app.extensions["tracker.uses"]).note(primary(), found)
            return found
    return None


def _recognised(session: Session | Connection, secret: str, purposes: tuple[str, ...]) -> Shown | None:
    if secret.startswith(job_tokens.PREFIX) and purposes == tokens.BEARERS:
        job = job_tokens.identify(session, secret)
        return None if job is None else Shown(job, purpose="job")
    return tokens.recognise(session, secret, purposes)


def _require_scope(identity: Identity) -> None:
    """A token may be for reading alone, and a job's for its runs alone."""
    if identity.job is not None and not freshness.only_looks() and request.endpoint not in _OF_JOBS:
        raise Forbidden("This token is a job's: it is for the runs of that job.")
    needed = "read" if freshness.only_looks() else "write"
    if needed not in identity.scopes and request.endpoint not in _NEED_NO_SCOPE:
        raise Forbidden(f"This token is not for that: it has no scope `{needed}`.")
