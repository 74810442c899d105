"""Sessions of browsers: a one-time token becomes a cookie."""

from __future__ import annotations

import re
from datetime import timedelta

from flask import Blueprint, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug import Response

from tracker.store import tokens
from web.context import db

LIFETIME = timedelta(days=30)

login = Blueprint("login", __name__)


def cookie_name() -> str:
    """The cookie's name. Browsers share cookies between ports; people forward several servers to one localhost."""
    port = re.search(r":(\d{1,5})\Z", request.host)
    return f"tracker_{port[1] if port else request.scheme}"


@login.get("/login")
def enter() -> ResponseReturnValue:
    """Log in by link, or tell how to get one."""
    secret = request.args.get("token", "")
    if secret and request.method == "GET":  # HEAD comes from link previews and must not use the token up
        return _redeem(secret, request.args.get("next", ""))
    return render_template("login.html", next=request.args.get("next", ""), failed=False)


@login.post("/login")
def redeem() -> ResponseReturnValue:
    """Log in by a pasted token or link."""
    pasted = request.form.get("token", "").strip()
    return _redeem(pasted.rpartition("token=")[2], request.form.get("next", ""))


@login.post("/logout")
def leave() -> ResponseReturnValue:
    """End the session."""
    with db().write() as session:
        tokens.revoke(session, request.cookies.get(cookie_name(), ""))
    response = redirect(url_for("login.enter"), 303)
    response.delete_cookie(cookie_name(), path=request.script_root or "/")
    return response


def _redeem(secret: str, back: str) -> ResponseReturnValue:
    with db().write() as session:
        identity = tokens.redeem(session, secret)
        if identity is not None:
            cookie = tokens.create(session, identity.user, identity.role, tokens.SESSION, LIFETIME)
    if identity is None:
        return render_template("login.html", next=back, failed=True), 401
    response = redirect(request.script_root + local_path(back), 303)
    _keep(response, cookie)
    return response


def _keep(response: Response, cookie: str) -> None:
    response.set_cookie(
        cookie_name(), cookie, max_age=LIFETIME, path=request.script_root or "/",
        httponly=True, samesite="Lax", secure=request.is_secure,
    )  # fmt: skip


def local_path(given: str) -> str:
    """The path if it leads to a page of ours, `/` otherwise: a link must not send people to another site."""
    plain = given.isascii() and given.isprintable() and "\\" not in given
    return given if plain and given.startswith("/") and not given.startswith("//") else "/"
