"""Runs."""

from __future__ import annotations

from typing import Any

from flask import Blueprint
from flask.typing import ResponseReturnValue

from tracker.actions.explain import last_words
from tracker.actions.read_job import read_job
from tracker.errors import BadFilter
from tracker.store import runs as store
from tracker.store.search import language
from web.api.described import described
from web.api.exchange import answer, read_query
from web.api.models import NoQuery, RunList, RunsAsked, RunsQuery
from web.api.readings import RunRead
from web.context import db, now, viewer

runs = Blueprint("runs", __name__, url_prefix="/runs")


@runs.get("")
@described(RunList, query=RunsQuery, errors=(BadFilter,))
def find() -> ResponseReturnValue:
    """Runs that fit all that is asked, newest first."""
    asked = read_query(RunsQuery)
    with db().read() as session:
        page = store.find(session, viewer(), **filtered(asked), **paged(asked))
    return answer(RunList.of(page))


def filtered(asked: RunsAsked) -> dict[str, Any]:
    """Which runs are asked of the store. Raises BadFilter."""
    where = language.parse(asked.filter) if asked.filter and asked.filter.strip() else None
    states = [state for state in asked.state if state]  # a form sends its empty fields, too
    return {
        "experiment": asked.experiment, "user": asked.user, "states": states, "search": asked.q, "where": where,
    }  # fmt: skip


def paged(asked: RunsQuery) -> dict[str, Any]:
    """Which part of them in which order is asked of the store. Raises BadFilter."""
    wanted: dict[str, Any] = {"limit": asked.limit, "cursor": asked.cursor}
    if asked.order_by and asked.order_by.strip():
        wanted["orders"] = language.parse_order(asked.order_by)
    return wanted


@runs.get("/<run:ident>")
@described(RunRead)
def get(ident: str) -> ResponseReturnValue:
    """One run, and what can be told of its job."""
    read_query(NoQuery)
    with db().read() as session:
        run = store.get(session, viewer(), ident)
        output = last_words(session, run)
        reading = read_job(session, viewer(), run, now())
    return answer(RunRead.read(run, output, reading))
