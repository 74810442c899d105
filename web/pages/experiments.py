"""Experiments."""

from __future__ import annotations

from flask import Blueprint
from flask.typing import ResponseReturnValue

from tracker.store import experiments as store
from tracker.store.experiments import ExperimentSummary
from web.context import db, settings, viewer
from web.pages import live

experiments = Blueprint("experiments", __name__)

_WORDS = ("thinned after", "dropped after")


@experiments.get("/experiments")
def show() -> ResponseReturnValue:
    """All experiments, the one with the newest run first."""
    with db().read() as session:
        found = store.find(session, viewer())
    kept = {one.id: _how_long(one) for one in found.items}
    return live.answer("experiments", every_s=5, experiments=found.items, kept=kept, some_go=any(kept.values()))


def _how_long(one: ExperimentSummary) -> str:
    """What becomes of its runs' points, by its own word or that of the settings; nothing where they stay."""
    own = (one.thin_points_after_days, one.drop_points_after_days)
    others = (settings().thin_points_after_days, settings().drop_points_after_days)
    days = [other if day is None else day for day, other in zip(own, others, strict=True)]
    told = [f"{word} {count} day{'s' if count != 1 else ''}" for word, count in zip(_WORDS, days, strict=True) if count]
    return ", ".join(told)
