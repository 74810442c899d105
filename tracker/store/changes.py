"""What changed since a moment: runs and clusters, for those who follow them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from tracker.store.heard import CHANGED_AT, STAMPED_EVERY
from tracker.store.identity import Identity
from tracker.store.tables import Cluster, Experiment, Run

MOST_AT_ONCE = 20_000


@dataclass(frozen=True)
class RunFacts:
    """What lists show of a run."""

    id: str
    user: str | None
    experiment: str
    name: str | None
    state: str
    state_source: str
    cluster: str | None
    job_id: int | None
    array_job_id: int | None
    array_task_id: int | None
    started_at: datetime | None
    ended_at: datetime | None
    deleted_at: datetime | None

    def visible_to(self, viewer: Identity) -> bool:
        """Whether the viewer may know of it, or may have known of it before it was deleted."""
        if viewer.job is not None:
            return self.user == viewer.user and (self.cluster, self.job_id) == viewer.job
        return viewer.sees_all or (viewer.sees_own and self.user == viewer.user)


@dataclass(frozen=True)
class ClusterFacts:
    """How a cluster's watcher is doing."""

    name: str
    as_of: datetime | None
    problem: str | None


_COLUMNS = (
    Run.id, Run.user, Experiment.name, Run.name, Run.state, Run.state_source, Run.cluster, Run.job_id, Run.array_job_id,
    Run.array_task_id, Run.started_at, Run.ended_at, Run.deleted_at,
)  # fmt: skip


def runs_since(session: Session, moment: datetime) -> list[tuple[RunFacts, datetime]]:
    """Runs that changed at that moment or later, each with the moment of its last change; the oldest change first.

    At most MOST_AT_ONCE, the newest ones.
    """
    query = (
        select(*_COLUMNS, CHANGED_AT)
        .join(Experiment, Run.experiment_id == Experiment.id)
        .where(Run.updated_at >= moment - STAMPED_EVERY, moment <= CHANGED_AT)
        .order_by(CHANGED_AT.desc())
        .limit(MOST_AT_ONCE)
    )
    rows: list[Any] = list(reversed(session.execute(query).all()))
    return [(RunFacts(*row[:-1]), row[-1]) for row in rows]


def clusters(session: Session) -> list[ClusterFacts]:
    """All clusters."""
    query = select(Cluster.name, Cluster.as_of, Cluster.problem)
    return [ClusterFacts(*row) for row in session.execute(query)]
