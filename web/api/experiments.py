"""Experiments."""

from __future__ import annotations

from flask import Blueprint
from flask.typing import ResponseReturnValue
from pydantic import BaseModel, ConfigDict

from tracker.store import experiments as store
from tracker.store.experiments import ExperimentSummary
from web.api.exchange import answer, read_query
from web.api.models import NoQuery, Time
from web.context import db, viewer

experiments = Blueprint("experiments", __name__, url_prefix="/experiments")


class Experiment(BaseModel):
    """An experiment and how many of its runs may be seen."""

    model_config = ConfigDict(from_attributes=True)
    id: str
    name: str
    created_at: Time
    run_count: int
    last_run_at: Time | None


class ExperimentList(BaseModel):
    """Experiments, the one with the newest run first."""

    items: list[Experiment]
    next_cursor: str | None = None

    @classmethod
    def of(cls, found: list[ExperimentSummary]) -> ExperimentList:
        """The experiments as the store has them."""
        return cls(items=[Experiment.model_validate(one) for one in found])


@experiments.get("")
def find() -> ResponseReturnValue:
    """Experiments in which the asker may see a run."""
    read_query(NoQuery)
    with db().read() as session:
        found = store.find(session, viewer())
    return answer(ExperimentList.of(found))
