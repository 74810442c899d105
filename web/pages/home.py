"""Home: the queue now, beside the latest results."""

from __future__ import annotations

from flask import Blueprint
from flask.typing import ResponseReturnValue

from tracker.store import clusters, runs
from web.context import db, viewer
from web.pages import live

home = Blueprint("home", __name__)

SHOWN_LIVE = 100
SHOWN_ENDED = 25


@home.get("/")
def show() -> ResponseReturnValue:
    """The queue, the results, the clusters."""
    with db().read() as session:
        queue, ended = runs.board(session, viewer(), live_limit=SHOWN_LIVE, ended_limit=SHOWN_ENDED)
        watched = clusters.all_of_them(session)
    running = [run for run in queue if run.state != "PENDING"]
    pending = [run for run in queue if run.state == "PENDING"]
    return live.answer(
        "home", running=running, pending=pending, ended=ended, clusters=watched, full=len(queue) == SHOWN_LIVE
    )  # fmt: skip
