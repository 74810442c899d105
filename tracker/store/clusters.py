"""Clusters as their watchers see them."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from tracker.store.tables import Cluster

PATIENCE = timedelta(seconds=15)
"""A watcher that is later than this with its next look is taken to be gone."""


def all_of_them(session: Session) -> list[Cluster]:
    """Every cluster that was ever seen, by name."""
    return list(session.scalars(select(Cluster).order_by(Cluster.name)))


def get(session: Session, name: str) -> Cluster:
    """The cluster of this name, made if there is none."""
    cluster = session.get(Cluster, name)
    if cluster is None:
        cluster = Cluster(name=name, nodes=[])
        session.add(cluster)
        session.flush()
    return cluster


def is_watched(cluster: Cluster | None, now: datetime) -> bool:
    """Whether a watcher of the cluster is at work, so that nothing has to be guessed from hooks."""
    return cluster is not None and cluster.next_look_at is not None and now < cluster.next_look_at + PATIENCE


def find(session: Session, name: str) -> Cluster | None:
    """The cluster of this name, if it was ever seen."""
    return session.get(Cluster, name)
