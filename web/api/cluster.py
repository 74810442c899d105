"""The queue and the nodes, as the watchers saw them last."""

from __future__ import annotations

from flask import Blueprint
from flask.typing import ResponseReturnValue

from tracker.states import LIVE_STATES
from tracker.store import clusters, runs
from web.api.exchange import answer, read_query
from web.api.models import JobList, NodeList, NoQuery, PageQuery
from web.context import db, viewer

cluster = Blueprint("cluster", __name__)


@cluster.get("/jobs")
def jobs() -> ResponseReturnValue:
    """Runs that wait or run, newest first."""
    asked = read_query(PageQuery)
    with db().read() as session:
        page = runs.find(session, viewer(), states=LIVE_STATES, limit=asked.limit, cursor=asked.cursor)
        watched = clusters.all_of_them(session)
    return answer(JobList.seen(page, watched))


@cluster.get("/nodes")
def nodes() -> ResponseReturnValue:
    """All nodes of all clusters."""
    read_query(NoQuery)
    with db().read() as session:
        watched = clusters.all_of_them(session)
    return answer(NodeList.of(watched))
