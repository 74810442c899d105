"""The audit log, for administrators."""

from __future__ import annotations

from typing import Annotated

from flask import Blueprint
from flask.typing import ResponseReturnValue
from pydantic import BaseModel, ConfigDict, Field

from tracker.errors import Forbidden
from tracker.store import audit as store
from web.api.described import described
from web.api.exchange import answer, read_query
from web.api.models import PageQuery, Past, Text, Time
from web.context import db, viewer

audit = Blueprint("audit", __name__)


class AuditQuery(PageQuery):
    """Which entries: of an `actor`, of an `action` or the beginning of one (`token.`), `since` a moment."""

    actor: Text | None = None
    action: Annotated[str, Field(pattern=r"^[a-z.]+$", max_length=40)] | None = None
    since: Past | None = None


class Entry(BaseModel):
    """Who did what to what, and from where; `actor` is empty where nobody was logged in."""

    model_config = ConfigDict(from_attributes=True)
    id: str
    at: Time
    actor: str
    address: str
    action: str
    target: str
    detail: str


class EntryList(BaseModel):
    """Entries of the audit log, newest first."""

    model_config = ConfigDict(from_attributes=True)
    items: list[Entry]
    next_cursor: str | None


@audit.get("/audit")
@described(EntryList, query=AuditQuery, errors=(Forbidden,))
def find() -> ResponseReturnValue:
    """Changes of rights, deletions and refusals."""
    asked = read_query(AuditQuery)
    if not viewer().sees_all:
        raise Forbidden("The audit log is for administrators.")
    with db().read() as session:
        found = store.find(
            session, actor=asked.actor, action=asked.action, since=asked.since, limit=asked.limit, cursor=asked.cursor
        )
    return answer(EntryList.model_validate(found))
