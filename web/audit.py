"""What a request does to rights, deletes or is refused, written into the audit log."""

from __future__ import annotations

import logging
from typing import cast

from flask import Flask, Response, current_app, g, request
from limits import parse

from tracker.errors import DatabaseUnavailable
from tracker.store import audit
from tracker.store.database import Session
from web import peers
from web.context import primary
from web.limits import Counts

log = logging.getLogger("tracker.audit")

_OF_ONE, _OF_ALL = parse("30/minute"), parse("600/minute")
"""So many refusals of one address, and of all, does a process note: nobody can fill the database by knocking."""


class Refusals:
    """Counts refusals, and says which are to be noted."""

    def __init__(self) -> None:
        self._of_one, self._of_all = Counts(_OF_ONE), Counts(_OF_ALL)

    def is_to_be_noted(self, address: str) -> bool:
        """Count one more of this address; answer whether it is not one too many."""
        return not self._of_one.wait_s(address) and not self._of_all.wait_s("all")


def install(app: Flask) -> None:
    """Note whom the application refuses."""
    app.extensions["tracker.refusals"] = Refusals()
    app.after_request(_note_refusal)


def note(session: Session, action: str, target: str = "", detail: str = "", *, actor: str | None = None) -> None:
    """Write down what this request did, with the transaction that does it; `actor` where nobody is logged in yet."""
    who = g.get("identity")
    name = actor if actor is not None else (who.user if who else "")
    audit.note(session, name, action, target, detail, address=peers.address())


def note_refusal(action: str, target: str = "", detail: str = "", *, actor: str | None = None) -> None:
    """Write down that somebody was refused, in a transaction of its own, unless this happens too often."""
    refusals = cast(Refusals, current_app.extensions["tracker.refusals"])
    if not refusals.is_to_be_noted(peers.address()):
        return
    try:
        with primary().write() as session:
            note(session, action, target, detail, actor=actor)
    except DatabaseUnavailable as problem:
        log.warning("a refusal is not in the audit log: %s: %s", action, problem)


def _note_refusal(response: Response) -> Response:
    """Note who shows what is worth nothing, or asks for what is not theirs; who shows nothing is asked to log in."""
    shown = "Authorization" in request.headers and request.endpoint not in ("api.tokens.renew", "api.tokens.log_in")
    if response.status_code == 403 or (response.status_code == 401 and shown):
        note_refusal("refused", f"{request.method[:20]} {request.path}", g.get("problem", ""))
    return response
