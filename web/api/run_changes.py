"""Making, changing and deleting a run."""

from __future__ import annotations

import uuid
from typing import Annotated, Literal
from uuid import UUID

from flask import Blueprint, url_for
from flask.typing import ResponseReturnValue
from pydantic import Field

from tracker.actions.change_runs import Change, change
from tracker.errors import Conflict, Forbidden
from tracker.store import experiments, known_runs, params
from tracker.store import runs as store
from web import audit
from web.api.described import described
from web.api.exchange import answer, made, read_body, read_query
from web.api.models import Asked, LongText, Name, NoQuery, Past, Run, Sentence
from web.context import db, now, viewer

run_changes = Blueprint("run_changes", __name__, url_prefix="/runs")

Texts = Annotated[dict[Name, LongText], Field(max_length=1000, default_factory=dict)]
Changes = Annotated[dict[Name, LongText | None], Field(max_length=1000, default_factory=dict)]


class NewRun(Asked):
    """A run outside Slurm; it begins now unless told otherwise. With an `id` of yours a repetition makes no other."""

    id: UUID | None = None
    experiment: Name = experiments.DEFAULT
    name: Name | None = None
    params: Texts
    tags: Texts
    started_at: Past | None = None


class RunChange(Asked):
    """What to change of a run; what is not given stays. A param or tag that is null is taken away, others stay.

    `state` ends a run outside Slurm, with an optional `reason`; how a job ends is told by Slurm.
    """

    name: Name | None = None
    experiment: Name | None = None
    params: Changes
    tags: Changes
    state: Literal["COMPLETED", "FAILED", "CANCELLED"] | None = None
    reason: Sentence | None = None

    def wanted(self) -> Change:
        """The change as the action takes it."""
        return Change(self.name, self.experiment, self.params, self.tags, self.state, self.reason)


@run_changes.post("")
@described(Run, body=NewRun, status=201, errors=(Conflict, Forbidden))
def make() -> ResponseReturnValue:
    """Make a run outside Slurm."""
    read_query(NoQuery)
    asked = read_body(NewRun)
    if not viewer().sees_own:
        raise Forbidden("This token is an agent's; runs are made by people.")
    run_id = str(asked.id or uuid.uuid4())
    with db().write() as session:
        known_runs.reserve(session, set(), [run_id])
        if store.lock(session, run_id) is not None:
            raise Conflict(f"There is a run {run_id} already.")
        run = store.add(
            session, experiment=experiments.named(session, asked.experiment, now()), now=now(), id=run_id,
            name=asked.name, user=viewer().user, state="RUNNING", state_source="client",
            started_at=asked.started_at or now(),
        )  # fmt: skip
        params.set_params(session, run.id, asked.params)
        params.set_tags(session, run.id, asked.tags)
    return made(_as_it_is(run_id), url_for("api.runs.get", ident=run_id))


@run_changes.patch("/<run:ident>")
@described(Run, body=RunChange)
def change_one(ident: str) -> ResponseReturnValue:
    """Give a run another name, experiment, params or tags, or end it."""
    read_query(NoQuery)
    asked = read_body(RunChange)
    with db().write() as session:
        run = store.get_locked(session, viewer(), ident)
        change(session, [run], asked.wanted(), now())
    return answer(_as_it_is(run.id))


@run_changes.delete("/<run:ident>")
@described(status=204, errors=(Conflict,))
def remove(ident: str) -> ResponseReturnValue:
    """Delete a run that has ended."""
    read_query(NoQuery)
    with db().write() as session:
        run = store.get_locked(session, viewer(), ident)
        store.remove(run, now())
        audit.note(session, "run.delete", run.id, f"of {run.user}")
    return "", 204


def _as_it_is(run_id: str) -> Run:
    with db().read() as session:
        run = store.get(session, viewer(), run_id)
    return Run.of(run)
