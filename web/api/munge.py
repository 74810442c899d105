"""Logging in by MUNGE, for programs."""

from __future__ import annotations

from typing import Annotated

from flask import Blueprint
from flask.typing import ResponseReturnValue
from pydantic import BaseModel, Field

from tracker.actions.log_in_by_munge import LIFETIME, log_in
from tracker.errors import Forbidden, NotFound, TooMany, Unauthenticated, Unavailable
from web import audit
from web.api.described import described
from web.api.exchange import answer, read_body, read_query
from web.api.models import Asked, NoQuery
from web.auth.ways import ways
from web.context import now, primary, settings

munge = Blueprint("munge", __name__)


class Credential(Asked):
    """A MUNGE credential with the payload that docs/security.md tells. With `agent` the token can only deliver."""

    credential: Annotated[str, Field(max_length=8000)]
    agent: bool = False


class Granted(BaseModel):
    """A token for `Authorization: Bearer`, good for `expires_in` seconds, and whose it is."""

    access_token: str
    token_type: str = "Bearer"
    expires_in: int = int(LIFETIME.total_seconds())
    user: str
    role: str


@munge.post("/tokens:munge")
@described(Granted, body=Credential, errors=(Forbidden, NotFound, TooMany, Unavailable))
def enter() -> ResponseReturnValue:
    """Give a token to whose process made a MUNGE credential."""
    read_query(NoQuery)
    asked = read_body(Credential)
    if "munge" not in ways().open:
        raise NotFound("Nobody logs in by MUNGE here, as its setting `logins` says: use a token.")
    try:
        secret, who = log_in(primary(), settings(), asked.credential, for_agent=asked.agent, now=now())
    except Unauthenticated as problem:
        audit.note_refusal("login.refused", "munge", str(problem))
        raise
    return answer(Granted(access_token=secret, user=who.user, role=who.role))
