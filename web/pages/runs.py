"""All runs, newest first or in the order that is asked for, with simple filters and the filter language."""

from __future__ import annotations

from typing import Any, Literal

from flask import Blueprint
from flask.typing import ResponseReturnValue
from pydantic import Field

from tracker.errors import BadFilter
from tracker.states import STATES
from tracker.store import runs as store
from tracker.store.database import Session
from tracker.store.search import groups as grouping
from tracker.store.search.language import Field as Named
from web.api.exchange import read_query
from web.api.models import RunsQuery, Text
from web.api.runs import filtered, paged
from web.context import db, viewer
from web.pages import live

runs = Blueprint("runs", __name__)


GROUPS_EVERY_S = 15
MOST_GROUPS = 200


class _PageQuery(RunsQuery):
    limit: int = Field(50, ge=1, le=200)
    fragment: str | None = None
    # A form sends its empty fields, too.
    state: list[str] = []  # noqa: RUF012
    group_by: Text | None = None
    metric: Text | None = None
    figure: Literal["last", "min", "max", "mean"] = "last"


@runs.get("/runs")
def show() -> ResponseReturnValue:
    """A page of runs, or their groups; a filter that cannot be read is explained beside it."""
    asked = read_query(_PageQuery)
    page, groups, trouble = store.Page([], None), None, None
    try:
        wanted = {**filtered(asked), "states": [state for state in asked.state if state in STATES]}
        with db().read() as session:
            if asked.group_by and asked.group_by.strip():
                groups = _groups(session, asked, wanted)
            else:
                page = store.find(session, viewer(), **wanted, **paged(asked))
    except BadFilter as problem:
        trouble = str(problem)
    next_url = live.here(cursor=page.next_cursor) if page.next_cursor else None
    every_s = 1 if groups is None else GROUPS_EVERY_S
    return live.answer(
        "runs", every_s=every_s, page=page, groups=groups, asked=asked, states=STATES, next_url=next_url,
        trouble=trouble,
    )  # fmt: skip


def _groups(session: Session, asked: _PageQuery, wanted: dict[str, Any]) -> dict[str, Any]:
    """The groups, each with the address of its runs, and the words above their columns."""
    by = grouping.fields(asked.group_by or "")
    metric = Named("metrics", asked.metric, asked.figure, 1) if asked.metric else None
    found = store.groups(session, viewer(), by, metric, **wanted, limit=MOST_GROUPS + 1)
    before = f"({asked.filter}) and " if asked.filter and asked.filter.strip() else ""
    links = [live.here(group_by=None, metric=None, figure=None, filter=before + one.filter) for one in found]
    heads = [field.name if field.kind == "attributes" else f"{field.kind}.{field.name}" for field in by]
    return {
        "heads": heads, "items": list(zip(found, links, strict=True))[:MOST_GROUPS],
        "complete": len(found) <= MOST_GROUPS,
    }  # fmt: skip
