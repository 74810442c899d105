"""The tables of clusters, which do not grow with runs: what the watcher saw, jobs that wait, clocks of nodes."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Index, String, Text, types
from sqlalchemy.orm import Mapped, mapped_column

from tracker.store.table import Table


class Cluster(Table):
    """A Slurm cluster as its watcher saw it at `as_of`; it wants to look again at `next_look_at`.

    `accounted_until`: accounting was read up to this moment of the controller's clock. `watcher` alone may ask Slurm
    until `watched_until`. `lacks` are keys of tracker.slurm.missing, `questions` the counts of tracker.slurm.counted.
    """

    __tablename__ = "clusters"
    name: Mapped[str] = mapped_column(Text, primary_key=True)
    as_of: Mapped[datetime | None]
    next_look_at: Mapped[datetime | None]
    accounted_until: Mapped[datetime | None]
    problem: Mapped[str | None] = mapped_column(Text)
    nodes: Mapped[list[dict[str, Any]]] = mapped_column(types.JSON, default=list)
    watcher: Mapped[str | None] = mapped_column(Text)
    watched_until: Mapped[datetime | None]
    source: Mapped[str | None] = mapped_column(Text)
    slurm_version: Mapped[str | None] = mapped_column(Text)
    lacks: Mapped[list[str]] = mapped_column(types.JSON, default=list, server_default="[]")
    questions: Mapped[dict[str, dict[str, float]]] = mapped_column(types.JSON, default=dict, server_default="{}")


class Wait(Table):
    """What Slurm says of a job that waits, or said last before it started (see store/waits.py).

    `job_id` is an array's for its tasks; `task_id` is NO_TASK for other jobs. `ranked`: it may
    start if its turn comes, and all that may are known. `estimate_at`: when it will start, as the backfill scheduler
    thinks; `first_estimate_at` is the first such word. `limit_words`: the limit that holds it back, with its value.
    """

    __tablename__ = "waits"
    __table_args__ = (Index("ix_waits_started", "cluster", "started_at"),)
    cluster: Mapped[str] = mapped_column(Text, primary_key=True)
    job_id: Mapped[int] = mapped_column(primary_key=True)
    task_id: Mapped[int] = mapped_column(primary_key=True)
    partition: Mapped[str] = mapped_column(Text)
    user: Mapped[str | None] = mapped_column(Text)
    priority: Mapped[int]
    ranked: Mapped[bool]
    eligible_at: Mapped[datetime | None]
    estimate_at: Mapped[datetime | None]
    first_estimate_at: Mapped[datetime | None]
    started_at: Mapped[datetime | None]
    planned_nodes: Mapped[str | None] = mapped_column(Text)
    dependency: Mapped[str | None] = mapped_column(Text)
    reservation: Mapped[str | None] = mapped_column(Text)
    features: Mapped[str | None] = mapped_column(Text)
    licenses: Mapped[str | None] = mapped_column(Text)
    array_throttle: Mapped[int | None]
    limit_words: Mapped[str | None] = mapped_column(Text)


class Clock(Table):
    """How much a node's clock is behind the server's (`skew_us`, negative: ahead), as its agent's requests show."""

    __tablename__ = "clocks"
    cluster: Mapped[str] = mapped_column(String(64), primary_key=True)
    node: Mapped[str] = mapped_column(String(255), primary_key=True)
    skew_us: Mapped[int]
    measured_at: Mapped[datetime]
