"""Experiments."""

from __future__ import annotations

from flask import Blueprint
from flask.typing import ResponseReturnValue

from tracker.store import experiments as store
from web.context import db, viewer
from web.pages import live

experiments = Blueprint("experiments", __name__)


@experiments.get("/experiments")
def show() -> ResponseReturnValue:
    """All experiments, the one with the newest run first."""
    with db().read() as session:
        found = store.find(session, viewer())
    return live.answer("experiments", every_s=5, experiments=found.items)
