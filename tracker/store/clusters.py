"""Clusters as their watchers see them."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from tracker.store.tables import Cluster

FRESH = timedelta(seconds=15)
"""A watcher that reported within this time is taken to be at work."""


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


def is_watched(session: Session, name: str, now: datetime) -> bool:
    """Whether a watcher of the cluster is at work, so that nothing has to be guessed from hooks."""
    cluster = session.get(Cluster, name)
    return cluster is not None and cluster.as_of is not None and now - cluster.as_of < FRESH
