"""Sessions of browsers: who proves to be somebody gets a cookie."""

from __future__ import annotations

import re
from datetime import timedelta

from flask import Blueprint, current_app, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug import Response
from werkzeug.exceptions import TooManyRequests

from tracker.errors import Unavailable
from tracker.store import tokens
from tracker.store.database import Session
from tracker.store.tokens import Shown
from web import audit
from web.auth import passwords
from web.auth.attempts import require_patience
from web.auth.origin import local_path
from web.auth.ways import ways
from web.context import db, primary

LIFETIME = timedelta(days=30)
"""A session is over after this, and before if nobody uses it for a week (tokens.IDLE_SESSION)."""

login = Blueprint("login", __name__)


def cookie_name() -> str:
    """The cookie's name. Browsers share cookies between ports; people forward several servers to one localhost.

    On https the name itself forbids browsers to take such a cookie from another host of the domain, or from plain http.
    """
    port = re.search(r":(\d{1,5})\Z", request.host)
    name = f"tracker_{port[1] if port else request.scheme}"
    if not request.is_secure:
        return name
    return f"__Secure-{name}" if request.script_root else f"__Host-{name}"


@login.get("/login")
def enter() -> ResponseReturnValue:
    """Log in by link, or tell how to get one."""
    secret = request.args.get("token", "")
    if secret and request.method == "GET":  # HEAD comes from link previews and must not use the token up
        return _redeem(secret, request.args.get("next", ""))
    return page(request.args.get("next", ""))


@login.post("/login")
def redeem() -> ResponseReturnValue:
    """Log in by a name and a password, or by a pasted link."""
    back = request.form.get("next", "")
    if "password" in request.form:
        return _with_password(request.form.get("user", "").strip(), request.form["password"], back)
    pasted = request.form.get("token", "").strip()
    return _redeem(pasted.rpartition("token=")[2], back)


@login.post("/logout")
def leave() -> ResponseReturnValue:
    """End the session."""
    with db().write() as session:
        tokens.revoke(session, request.cookies.get(cookie_name(), ""))
        audit.note(session, "logout")
    response = redirect(url_for("login.enter"), 303)
    response.delete_cookie(
        cookie_name(), path=request.script_root or "/", httponly=True, samesite="Lax", secure=request.is_secure
    )
    return response


def page(back: str, problem: str = "", user: str = "") -> str:
    """The page on which one logs in."""
    takes_passwords = ways().takes_passwords(primary())
    return render_template(
        "login.html", next=back, problem=problem, takes_passwords=takes_passwords, ways=ways(), user=user
    )


def _with_password(user: str, password: str, back: str) -> ResponseReturnValue:
    try:
        found = passwords.who(user, password)
    except TooManyRequests as refused:
        wait_s = {"Retry-After": str(refused.retry_after)}
        return page(back, f"Too many attempts: wait {refused.retry_after} seconds.", user), 429, wait_s
    except Unavailable as problem:
        return page(back, str(problem), user), 503
    if found is None:
        return page(back, "There is no such user with this password.", user), 401
    identity, way = found
    with db().write() as session:
        return begin(session, Shown(identity), way, back)


def _redeem(secret: str, back: str) -> ResponseReturnValue:
    require_patience()
    with db().write() as session:
        shown = tokens.redeem(session, secret) if "link" in ways().open else None
        response = None if shown is None else begin(session, shown, "link", back)
    if response is None:
        audit.note_refusal("login.refused", "", "link")
        return page(back, "This link is not valid any more: each works once. Ask for a new one."), 401
    return response


def begin(session: Session, shown: Shown, way: str, back: str) -> Response:
    """Begin a session of who proved to be somebody, and lead back to where they wanted to go.

    It has a new secret, and the one that the browser had before is over: nobody can wait in it.
    """
    tokens.revoke(session, request.cookies.get(cookie_name(), ""))
    secret = tokens.derive(session, shown, tokens.SESSION, LIFETIME)
    audit.note(session, "login", shown.identity.user, way, actor=shown.identity.user)
    response = current_app.make_response(redirect(request.script_root + local_path(back), 303))
    response.set_cookie(
        cookie_name(), secret, max_age=LIFETIME, path=request.script_root or "/",
        httponly=True, samesite="Lax", secure=request.is_secure,
    )  # fmt: skip
    return response
