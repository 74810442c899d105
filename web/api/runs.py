"""Runs."""

from __future__ import annotations

from typing import Any

from flask import Blueprint
from flask.typing import ResponseReturnValue

from tracker.errors import Conflict
from tracker.states import LIVE_STATES
from tracker.store import params
from tracker.store import runs as store
from tracker.store.search import language
from web.api.exchange import answer, read_body, read_query
from web.api.models import NoQuery, Run, RunChange, RunList, RunsQuery
from web.context import db, now, viewer

runs = Blueprint("runs", __name__, url_prefix="/runs")


@runs.get("")
def find() -> ResponseReturnValue:
    """Runs that fit all that is asked, newest first."""
    asked = read_query(RunsQuery)
    with db().read() as session:
        page = store.find(
            session, viewer(), experiment=asked.experiment, user=asked.user, states=asked.state, search=asked.q,
            limit=asked.limit, cursor=asked.cursor, **searched(asked),
        )  # fmt: skip
    return answer(RunList.of(page))


def searched(asked: RunsQuery) -> dict[str, Any]:
    """What `filter` and `order_by` ask of the store. Raises BadFilter."""
    wanted: dict[str, Any] = {}
    if asked.filter and asked.filter.strip():
        wanted["where"] = language.parse(asked.filter)
    if asked.order_by and asked.order_by.strip():
        wanted["orders"] = language.parse_order(asked.order_by)
    return wanted


@runs.get("/<run:ident>")
def get(ident: str) -> ResponseReturnValue:
    """One run."""
    read_query(NoQuery)
    with db().read() as session:
        run = store.get(session, viewer(), ident)
    return answer(Run.of(run))


@runs.patch("/<run:ident>")
def change(ident: str) -> ResponseReturnValue:
    """Give a run another name or other tags."""
    asked = read_body(RunChange)
    with db().write() as session:
        run = store.get(session, viewer(), ident)
        store.changes(run, name=asked.name, updated_at=now())
        params.set_tags(session, run.id, asked.tags)
    with db().read() as session:
        run = store.get(session, viewer(), ident)
    return answer(Run.of(run))


@runs.delete("/<run:ident>")
def remove(ident: str) -> ResponseReturnValue:
    """Delete a run that has ended."""
    with db().write() as session:
        run = store.get(session, viewer(), ident)
        if run.state in LIVE_STATES:
            raise Conflict(f"This run is {run.state}; it can be deleted when it has ended.")
        store.remove(run, now())
    return "", 204
