"""Who had which GPU when."""

from __future__ import annotations

from flask import Blueprint, render_template
from flask.typing import ResponseReturnValue

from tracker.store import gpus as store
from web.api.exchange import read_query
from web.api.gpus import GpusQuery
from web.context import db, now, viewer
from web.pages import live

gpus = Blueprint("gpus", __name__)


@gpus.get("/gpus")
def show() -> ResponseReturnValue:
    """Who had these GPUs, the last one to get one first; it is asked as the API is."""
    asked = read_query(GpusQuery)
    with db().read() as session:
        page = store.find(session, viewer(), asked.wanted(), limit=asked.limit, cursor=asked.cursor)
    next_url = live.here(cursor=page.next_cursor) if page.next_cursor else None
    return render_template("gpus.html", page=page, asked=asked, next_url=next_url, now=now(), viewer=viewer())
