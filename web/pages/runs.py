"""All runs, newest first or in the order that is asked for, with simple filters and the filter language."""

from __future__ import annotations

from flask import Blueprint
from flask.typing import ResponseReturnValue
from pydantic import Field

from tracker.errors import BadFilter
from tracker.states import STATES
from tracker.store import runs as store
from web.api.exchange import read_query
from web.api.models import RunsQuery
from web.api.runs import searched
from web.context import db, viewer
from web.pages import live

runs = Blueprint("runs", __name__)


class _PageQuery(RunsQuery):
    limit: int = Field(50, ge=1, le=200)
    fragment: str | None = None
    # A form sends its empty fields, too.
    state: list[str] = []  # noqa: RUF012


@runs.get("/runs")
def show() -> ResponseReturnValue:
    """A page of runs; a filter that cannot be read is explained beside it."""
    asked = read_query(_PageQuery)
    states = [state for state in asked.state if state in STATES]
    try:
        with db().read() as session:
            page = store.find(
                session, viewer(), experiment=asked.experiment, user=asked.user, states=states, search=asked.q,
                limit=asked.limit, cursor=asked.cursor, **searched(asked),
            )  # fmt: skip
        trouble = None
    except BadFilter as problem:
        page, trouble = store.Page([], None), str(problem)
    next_url = live.here(cursor=page.next_cursor) if page.next_cursor else None
    return live.answer("runs", page=page, asked=asked, states=STATES, next_url=next_url, trouble=trouble)
