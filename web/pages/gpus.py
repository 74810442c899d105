"""Who had which GPU when."""

from __future__ import annotations

from flask import Blueprint
from flask.typing import ResponseReturnValue

from tracker.store import gpus as store
from web.api.exchange import read_query
from web.api.gpus import GpusQuery
from web.context import db, viewer
from web.pages import live

gpus = Blueprint("gpus", __name__)

LOOKED_AT_EVERY_S = 15


class _PageQuery(GpusQuery):
    fragment: str | None = None


@gpus.get("/gpus")
def show() -> ResponseReturnValue:
    """Who had these GPUs, the last one to get one first; it is asked as the API is."""
    asked = read_query(_PageQuery)
    with db().read() as session:
        page = store.find(session, viewer(), asked.wanted(), limit=asked.limit, cursor=asked.cursor)
    next_url = live.here(cursor=page.next_cursor) if page.next_cursor else None
    return live.answer("gpus", every_s=LOOKED_AT_EVERY_S, page=page, asked=asked, next_url=next_url)
