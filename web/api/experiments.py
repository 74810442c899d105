"""Experiments."""

from __future__ import annotations

from flask import Blueprint
from flask.typing import ResponseReturnValue

from tracker.store import experiments as store
from web.api.exchange import answer, read_query
from web.api.models import ExperimentList, NoQuery
from web.context import db, viewer

experiments = Blueprint("experiments", __name__, url_prefix="/experiments")


@experiments.get("")
def find() -> ResponseReturnValue:
    """Experiments in which the asker may see a run."""
    read_query(NoQuery)
    with db().read() as session:
        found = store.find(session, viewer())
    return answer(ExperimentList.of(found))
