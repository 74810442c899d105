"""Clusters as their watchers see them."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import or_, select, update
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


def take(session: Session, name: str, watcher: str, now: datetime, until: datetime, *, gone: str = "") -> bool:
    """Make this watcher the cluster's until then; False when another one is. `gone` is a watcher that has ended."""
    get(session, name)
    free = or_(
        Cluster.watcher.is_(None), Cluster.watcher.in_((watcher, gone)), Cluster.watched_until.is_(None),
        Cluster.watched_until < now,
    )  # fmt: skip
    mine = update(Cluster).where(Cluster.name == name, free).values(watcher=watcher, watched_until=until)
    return session.execute(mine.returning(Cluster.name)).first() is not None


def watched_by(session: Session, name: str, watcher: str) -> Cluster | None:
    """The cluster, locked until the transaction ends; None when another watcher has it."""
    mine = select(Cluster).where(Cluster.name == name, Cluster.watcher == watcher)
    return session.scalar(mine.with_for_update(of=Cluster))


def leave(session: Session, name: str, watcher: str) -> None:
    """Let another watcher have the cluster at once."""
    mine = update(Cluster).where(Cluster.name == name, Cluster.watcher == watcher)
    session.execute(mine.values(watcher=None, watched_until=None))
