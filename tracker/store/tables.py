"""The tables. Every large one begins its key with the run, so that a database can spread runs.

Here are those of runs; all are known here.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey, Index, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from tracker.store.cluster_tables import Clock, Cluster, Wait
from tracker.store.series_tables import Batch, Result, Segment, Summary, Writer
from tracker.store.table import Table, UtcTime, is_set
from tracker.store.told_tables import HEAD_CHARS, Artifact, Capture, Log, LogPiece, Medium, Note, Param, Tag

__all__ = [
    "HEAD_CHARS",
    "Artifact",
    "Attempt",
    "Batch",
    "Capture",
    "Clock",
    "Cluster",
    "Experiment",
    "Gpu",
    "HookEvent",
    "Log",
    "LogPiece",
    "Medium",
    "Moment",
    "Note",
    "Param",
    "Result",
    "Run",
    "Segment",
    "Summary",
    "Suspension",
    "Table",
    "Tag",
    "Token",
    "Usage",
    "UtcTime",
    "Wait",
    "Writer",
    "is_set",
]


class Experiment(Table):
    """A named group of runs. `user`: who made it before it had one, and sees it without; runs make experiments, too.

    `thin_after_days` and `drop_points_after_days` stand before those of the settings; 0 is never.
    """

    __tablename__ = "experiments"
    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    name: Mapped[str] = mapped_column(Text, unique=True)
    created_at: Mapped[datetime]
    thin_after_days: Mapped[int | None]
    drop_points_after_days: Mapped[int | None]
    user: Mapped[str | None] = mapped_column(Text)


_IS_DELETED = text("deleted_at IS NOT NULL")  # few are, and the others need not be in the index


class Run(Table):
    """What the researcher sees: one job, one array task, one het job as a whole, or one script outside Slurm.

    `accounting_due`: an attempt ended, and Slurm's accounting has not been asked about it yet. `deleted_at`: since then
    nobody sees it. `parent_id`: the run of the job in which a script began this one, `tracker.init(new=True)`.
    `points_kept`: ALL, THINNED or NONE of the points that its summaries count (see store/retention.py).
    `results_due`: points came since its results were made (see store/results.py). `heard_at`: when lines came last;
    `updated_at` follows it up to a minute behind (see store/heard.py). `reasons_told`: see store/moments.py.
    """

    __tablename__ = "runs"
    __table_args__ = (
        Index("ix_runs_job", "cluster", "job_id"),
        Index("ix_runs_array", "cluster", "array_job_id", "array_task_id"),
        Index("ix_runs_state", "state", "created_at"),
        Index("ix_runs_user", "user", "created_at"),
        Index("ix_runs_experiment", "experiment_id", "created_at"),
        Index("ix_runs_deleted", "deleted_at", sqlite_where=_IS_DELETED, postgresql_where=_IS_DELETED),
        Index("ix_runs_results_due", "id", sqlite_where=text("results_due"), postgresql_where=text("results_due")),
    )
    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    experiment_id: Mapped[str] = mapped_column(ForeignKey("experiments.id"))
    parent_id: Mapped[str | None] = mapped_column(String(36), index=True)
    name: Mapped[str | None] = mapped_column(Text)
    user: Mapped[str | None] = mapped_column(Text)
    account: Mapped[str | None] = mapped_column(Text)
    partition: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(index=True)
    updated_at: Mapped[datetime] = mapped_column(index=True)
    heard_at: Mapped[datetime | None]

    state: Mapped[str] = mapped_column(String(16))
    state_source: Mapped[str] = mapped_column(String(16))
    accounting_due: Mapped[bool] = mapped_column(default=False, index=True)
    results_due: Mapped[bool] = mapped_column(default=False)
    reason: Mapped[str | None] = mapped_column(Text)
    exit_code: Mapped[int | None]
    signal: Mapped[int | None]
    submitted_at: Mapped[datetime | None]
    started_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None] = mapped_column(index=True)
    deleted_at: Mapped[datetime | None]
    time_limit_s: Mapped[int | None]
    points_kept: Mapped[str] = mapped_column(String(8), default="all")

    cluster: Mapped[str | None] = mapped_column(Text)
    job_id: Mapped[int | None]
    array_job_id: Mapped[int | None]
    array_task_id: Mapped[int | None]
    het_job_id: Mapped[int | None]
    restarts: Mapped[int] = mapped_column(default=0)
    gpus_requested: Mapped[int] = mapped_column(default=0)
    reasons_told: Mapped[int] = mapped_column(default=0)
    work_dir: Mapped[str | None] = mapped_column(Text)
    command: Mapped[str | None] = mapped_column(Text)

    experiment: Mapped[Experiment] = relationship(lazy="joined", innerjoin=True)
    params: Mapped[list[Param]] = relationship(order_by="Param.key", lazy="raise", viewonly=True)
    tags: Mapped[list[Tag]] = relationship(order_by="Tag.key", lazy="raise", viewonly=True)
    summary: Mapped[list[Summary]] = relationship(order_by="Summary.metric", lazy="raise", viewonly=True)
    attempts: Mapped[list[Attempt]] = relationship(order_by="Attempt.number", lazy="raise", viewonly=True)
    usage: Mapped[Usage | None] = relationship(lazy="raise", viewonly=True)


class Attempt(Table):
    """One allocation of a run, numbered from 1 by start. `restarts`: Slurm's count of requeues before it, if known.

    `start_source` and `end_source`: who told of its start, and of its end and state, as `state_source` of a run does.
    `gpu_count`: how many GPUs Slurm says it held, which of them or not. `suspended_s`: how long accounting says it was
    suspended, which sacct leaves out of what it elapsed. `shards`: how many shares of GPUs (gres/shard, gres/mps) it
    held in their place.
    """

    __tablename__ = "attempts"
    __table_args__ = (Index("ix_attempts_started_at", "started_at"),)
    run_id: Mapped[str] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    started_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    restarts: Mapped[int | None]
    state: Mapped[str] = mapped_column(String(16))
    nodes: Mapped[str | None] = mapped_column(Text)
    start_source: Mapped[str | None] = mapped_column(String(16))
    end_source: Mapped[str | None] = mapped_column(String(16))
    gpu_count: Mapped[int | None]
    suspended_s: Mapped[int | None]
    shards: Mapped[int | None]

    gpus: Mapped[list[Gpu]] = relationship(
        order_by="Gpu.node, Gpu.index", lazy="raise", viewonly=True,
        primaryjoin="and_(Attempt.run_id == foreign(Gpu.run_id), Attempt.number == foreign(Gpu.attempt))",
    )  # fmt: skip


class Gpu(Table):
    """A GPU that an attempt held from `started_at` to `ended_at`; others may have held it, too. `index`: Slurm's.

    `mig` is the UUID of the part that it held of a GPU that is split. `released_at`: when the node's Epilog came.
    """

    __tablename__ = "gpus"
    __table_args__ = (
        Index("ix_gpus_node", "cluster", "node", "started_at"),
        Index("ix_gpus_uuid", "uuid", "started_at"),
        Index("ix_gpus_mig", "mig", "started_at"),
        Index("ix_gpus_started_at", "started_at"),
        Index("ix_gpus_ended_at", "ended_at"),
    )
    run_id: Mapped[str] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True)
    attempt: Mapped[int] = mapped_column(primary_key=True)
    node: Mapped[str] = mapped_column(String(255), primary_key=True)
    index: Mapped[int] = mapped_column(primary_key=True)
    uuid: Mapped[str | None] = mapped_column(Text)
    type: Mapped[str | None] = mapped_column(Text)
    cluster: Mapped[str | None] = mapped_column(Text)
    started_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    released_at: Mapped[datetime | None]
    mig: Mapped[str | None] = mapped_column(Text)


class Moment(Table):
    """Something of a run's waits that was told: SUBMITTED, ELIGIBLE, or PENDING with its reason as `word`.

    `changes`: of so many changes of the reason since then only the last one is kept (see store/moments.py).
    """

    __tablename__ = "moments"
    run_id: Mapped[str] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True)
    kind: Mapped[str] = mapped_column(String(16), primary_key=True)
    at: Mapped[datetime] = mapped_column(primary_key=True)
    word: Mapped[str | None] = mapped_column(Text)
    source: Mapped[str] = mapped_column(String(16))
    changes: Mapped[int] = mapped_column(default=0)


class Suspension(Table):
    """A time in which a run was suspended: it holds its GPUs and memory, but Slurm does not count it as elapsed."""

    __tablename__ = "suspensions"
    run_id: Mapped[str] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True)
    started_at: Mapped[datetime] = mapped_column(primary_key=True)
    ended_at: Mapped[datetime | None]
    source: Mapped[str] = mapped_column(String(16))


class HookEvent(Table):
    """A hook's event that was applied, so that a repetition changes nothing."""

    __tablename__ = "hook_events"
    __table_args__ = (Index("ix_hook_events_event", "cluster", "node", "name", "happened_at"),)
    run_id: Mapped[str] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True)
    cluster: Mapped[str] = mapped_column(Text, primary_key=True)
    node: Mapped[str] = mapped_column(Text, primary_key=True)
    name: Mapped[str] = mapped_column(Text, primary_key=True)
    happened_at: Mapped[datetime] = mapped_column(primary_key=True)


class Usage(Table):
    """What the newest attempt of a run holds, and has used as its steps told (see store/usages.py).

    `due`: it has ended, and nobody has asked what it used.
    """

    __tablename__ = "usages"
    __table_args__ = (Index("ix_usages_due", "run_id", sqlite_where=text("due"), postgresql_where=text("due")),)
    run_id: Mapped[str] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True)
    started_at: Mapped[datetime | None]
    cpus: Mapped[int]
    memory_bytes: Mapped[int]
    nodes: Mapped[int]
    tasks: Mapped[int | None]
    due: Mapped[bool] = mapped_column(default=False)
    cpu_s: Mapped[float | None]
    used_memory_bytes: Mapped[int | None]


class SpentCredential(Table):
    """A credential that was used to log in, by a digest of what is in it; until then it could be shown again."""

    __tablename__ = "spent_credentials"
    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    until: Mapped[datetime] = mapped_column(index=True)


class SigningKey(Table):
    """A secret with which this site signs what it hands out and does not keep."""

    __tablename__ = "signing_keys"
    name: Mapped[str] = mapped_column(String(16), primary_key=True)
    secret: Mapped[str] = mapped_column(Text)


class Token(Table):
    """A key to the API or the pages. Only its hash is kept, whose first 16 letters are its id (see store/tokens.py).

    `scopes`: words of identity.SCOPES, null for all. `family`: the id of the token that it came from and goes with.
    `spent_at`: when a refresh token was used, which it may be once. `node` (`cluster:node`): for which alone an agent's
    key is.
    """

    __tablename__ = "tokens"
    hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    user: Mapped[str] = mapped_column(Text)
    role: Mapped[str] = mapped_column(String(16))
    purpose: Mapped[str] = mapped_column(String(16))
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    name: Mapped[str | None] = mapped_column(Text)
    scopes: Mapped[str | None] = mapped_column(Text)
    family: Mapped[str | None] = mapped_column(String(16), index=True)
    last_used_at: Mapped[datetime | None]
    spent_at: Mapped[datetime | None]
    node: Mapped[str | None] = mapped_column(Text)


class Account(Table):
    """What this server itself knows of a person: an argon2 hash of a password, a role, or that they may not come in."""

    __tablename__ = "accounts"
    user: Mapped[str] = mapped_column(Text, primary_key=True)
    role: Mapped[str] = mapped_column(String(16))
    password_hash: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime]
    disabled_at: Mapped[datetime | None]


class AuditEntry(Table):
    """Who did what: changes of rights, deletions, refusals (see store/audit.py)."""

    __tablename__ = "audit"
    __table_args__ = (Index("ix_audit_at", "at", "id"),)
    id: Mapped[str] = mapped_column(String(16), primary_key=True)
    at: Mapped[datetime]
    actor: Mapped[str] = mapped_column(Text)
    address: Mapped[str] = mapped_column(Text)
    action: Mapped[str] = mapped_column(Text)
    target: Mapped[str] = mapped_column(Text)
    detail: Mapped[str] = mapped_column(Text)
