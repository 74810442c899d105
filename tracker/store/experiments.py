"""Experiments: named groups of runs."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from tracker.store.identity import Identity
from tracker.store.runs import visible_to
from tracker.store.tables import Experiment, Run

DEFAULT = "default"
"""The experiment of runs that name none."""


@dataclass(frozen=True)
class ExperimentSummary:
    """An experiment with what may be seen of it."""

    id: str
    name: str
    created_at: datetime
    run_count: int
    last_run_at: datetime | None


def named(session: Session, name: str, now: datetime) -> Experiment:
    """The experiment of this name, made if there is none."""
    found = session.scalar(select(Experiment).where(Experiment.name == name))
    if found is None:
        is_postgresql = session.get_bind().dialect.name == "postgresql"
        if is_postgresql:  # two that name new experiments in opposite orders would wait for each other
            session.execute(select(func.pg_advisory_xact_lock(func.hashtext("tracker experiments"))))
        insert = postgresql.insert if is_postgresql else sqlite.insert
        row = insert(Experiment).values(id=str(uuid.uuid4()), name=name, created_at=now)
        session.execute(row.on_conflict_do_nothing())  # a thousand array tasks may name a new experiment at once
        found = session.scalars(select(Experiment).where(Experiment.name == name)).one()
    return found


def find(session: Session, viewer: Identity) -> list[ExperimentSummary]:
    """Experiments in which the viewer may see a run, the one with the newest run first."""
    newest = func.max(Run.created_at)
    query = (
        select(Experiment, func.count(Run.id), newest)
        .join(Run, Run.experiment_id == Experiment.id)
        .where(visible_to(viewer))
        .group_by(Experiment.id)
        .order_by(newest.desc())
    )
    return [
        ExperimentSummary(one.id, one.name, one.created_at, count, last) for one, count, last in session.execute(query)
    ]
