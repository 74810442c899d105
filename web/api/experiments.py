"""Experiments."""

from __future__ import annotations

from typing import Annotated

from flask import Blueprint, url_for
from flask.typing import ResponseReturnValue
from pydantic import BaseModel, ConfigDict, Field

from tracker.errors import Conflict, Forbidden
from tracker.settings import MOST_DAYS
from tracker.store import experiments as store
from tracker.store import retention
from web import audit
from web.api.described import described
from web.api.exchange import answer, made, read_body, read_query
from web.api.models import Asked, Count, Name, NoQuery, PageQuery, Time
from web.context import db, now, viewer

experiments = Blueprint("experiments", __name__, url_prefix="/experiments")


class NewExperiment(Asked):
    """The name of an experiment."""

    name: Name


Days = Annotated[Count, Field(le=MOST_DAYS)]


class ExperimentChange(Asked):
    """What to change of an experiment; what is not given stays.

    So many days after the end of a run its points are thinned and dropped: 0 is never, null as the server's settings
    say. Only administrators say it.
    """

    name: Name | None = None
    thin_points_after_days: Days | None = None
    drop_points_after_days: Days | None = None

    def days(self) -> dict[str, int | None]:
        """What is said of retention, as the store takes it."""
        said = {"thin": "thin_points_after_days", "drop": "drop_points_after_days"}
        return {word: getattr(self, name) for word, name in said.items() if name in self.model_fields_set}


class Experiment(BaseModel):
    """An experiment and how many of its runs may be seen.

    Where `thin_points_after_days` or `drop_points_after_days` is null, it is as the server's settings say; 0 is never.
    """

    model_config = ConfigDict(from_attributes=True)
    id: str
    name: str
    created_at: Time
    run_count: int
    last_run_at: Time | None
    thin_points_after_days: int | None
    drop_points_after_days: int | None


class ExperimentList(BaseModel):
    """Experiments, the one with the newest run first."""

    model_config = ConfigDict(from_attributes=True)
    items: list[Experiment]
    next_cursor: str | None = None


@experiments.get("")
@described(ExperimentList, query=PageQuery)
def find() -> ResponseReturnValue:
    """Experiments in which the asker may see a run, or which they made."""
    asked = read_query(PageQuery)
    with db().read() as session:
        found = store.find(session, viewer(), limit=asked.limit, cursor=asked.cursor)
    return answer(ExperimentList.model_validate(found))


@experiments.post("")
@described(Experiment, body=NewExperiment, status=201, errors=(Conflict, Forbidden))
def make() -> ResponseReturnValue:
    """Make an experiment; a run makes its own, too, by naming it."""
    read_query(NoQuery)
    asked = read_body(NewExperiment)
    if not viewer().sees_own:
        raise Forbidden("This token is an agent's; experiments are made by people and runs.")
    with db().write() as session:
        ident = store.add(session, viewer(), asked.name, now())
    return made(_as_it_is(ident), url_for("api.experiments.get", ident=ident))


@experiments.get("/<run:ident>")
@described(Experiment)
def get(ident: str) -> ResponseReturnValue:
    """One experiment."""
    read_query(NoQuery)
    return answer(_as_it_is(ident))


@experiments.patch("/<run:ident>")
@described(Experiment, body=ExperimentChange, errors=(Conflict, Forbidden))
def change(ident: str) -> ResponseReturnValue:
    """Give an experiment another name, or say how long its points are kept.

    One with runs of other users gets another name only from administrators, and they alone say how long points stay.
    """
    read_query(NoQuery)
    asked = read_body(ExperimentChange)
    with db().write() as session:
        found = store.get(session, viewer(), ident)
        if asked.name is not None:
            store.rename(session, viewer(), found.id, asked.name)
        if asked.days():
            _require_administrator()
            retention.set_days(session, found.id, **asked.days())
            audit.note(session, "experiment.retention", found.id, str(asked.days()))
    return answer(_as_it_is(ident))


def _require_administrator() -> None:
    if not viewer().sees_all:
        raise Forbidden("How long points are kept is said by administrators, as it is for the runs of all users.")


@experiments.delete("/<run:ident>")
@described(status=204, errors=(Conflict, Forbidden))
def remove(ident: str) -> ResponseReturnValue:
    """Delete an experiment and its runs, all of which have ended."""
    read_query(NoQuery)
    with db().write() as session:
        store.remove(session, viewer(), ident, now())
        audit.note(session, "experiment.delete", ident)
    return "", 204


def _as_it_is(ident: str) -> Experiment:
    with db().read() as session:
        found = store.get(session, viewer(), ident)
    return Experiment.model_validate(found)
