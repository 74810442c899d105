"""Changing and deleting many runs at once."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from flask import Blueprint
from flask.typing import ResponseReturnValue
from pydantic import Field

from tracker.actions.change_runs import change
from tracker.errors import BadInput, Conflict, NotFound
from tracker.store import runs as store
from web import audit
from web.api.described import described
from web.api.exchange import answer, read_body, read_query
from web.api.models import Asked, Counted, NoQuery
from web.api.run_changes import RunChange
from web.context import db, now, viewer

many_runs = Blueprint("many_runs", __name__)

MOST_RUNS = 1000
MOST_VALUES = 10_000
"""Params and tags that one request may set, of all its runs together."""


class ChosenRuns(Asked):
    """Runs by their ids."""

    ids: Annotated[list[UUID], Field(min_length=1, max_length=MOST_RUNS)]


class RunsChange(ChosenRuns, RunChange):
    """Runs by their ids, and what to change of all of them."""


@many_runs.patch("/runs")
@described(Counted, body=RunsChange, errors=(NotFound,))
def change_all() -> ResponseReturnValue:
    """Change many runs alike: all of them, or none when one of them cannot be changed."""
    read_query(NoQuery)
    asked = read_body(RunsChange)
    if len(asked.ids) * (len(asked.params) + len(asked.tags)) > MOST_VALUES:
        raise BadInput(f"One request sets at most {MOST_VALUES} params and tags of all its runs together.")
    with db().write() as session:
        chosen = store.all_locked(session, viewer(), map(str, asked.ids))
        change(session, chosen, asked.wanted(), now())
    return answer(Counted(count=len(chosen)))


@many_runs.post("/runs:delete")
@described(Counted, body=ChosenRuns, errors=(Conflict, NotFound))
def remove() -> ResponseReturnValue:
    """Delete many runs that have ended: all of them, or none when one of them cannot be deleted."""
    read_query(NoQuery)
    asked = read_body(ChosenRuns)
    with db().write() as session:
        chosen = store.all_locked(session, viewer(), map(str, asked.ids))
        for run in chosen:
            store.remove(run, now())
        audit.note(session, "run.delete", f"{len(chosen)} runs", " ".join(run.id for run in chosen[:12]))
    return answer(Counted(count=len(chosen)))
