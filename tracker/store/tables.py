"""The tables. Every large one begins its key with the run, so that a database can spread runs."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Computed,
    Dialect,
    ForeignKey,
    Index,
    LargeBinary,
    MetaData,
    String,
    Text,
    literal_column,
    text,
    types,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, MappedColumn, mapped_column, relationship

HEAD_CHARS = 64


class UtcTime(types.TypeDecorator[datetime]):
    """A moment in UTC with microseconds, kept as an integer so that both databases sort and compare it alike."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        """Microseconds since 1970."""
        return None if value is None else round(value.timestamp() * 1_000_000)

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:
        """A datetime in UTC."""
        return None if value is None else datetime.fromtimestamp(value / 1_000_000, tz=timezone.utc)


class Table(DeclarativeBase):
    """The parent of all tables."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_name)s",
            "uq": "uq_%(table_name)s_%(column_0_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {datetime: UtcTime, int: BigInteger, bytes: LargeBinary}  # noqa: RUF012


def is_set(flag: Any) -> ColumnElement[Any]:
    """The condition that a flag is set, in the words of the partial index on it.

    SQLAlchemy would say `flag = 1` to SQLite, which does not take that for the `flag` of the index and reads the table.
    """
    return literal_column(f"{flag.class_.__tablename__}.{flag.key}")


def _head() -> MappedColumn[str]:
    """The beginning of `value`, which the database keeps itself: indexes take no long texts. In order of bytes."""
    kind = String(HEAD_CHARS, collation="C").with_variant(String(HEAD_CHARS), "sqlite")
    return mapped_column(kind, Computed(f"substr(value, 1, {HEAD_CHARS})", persisted=True), deferred=True)


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


class Param(Table):
    """A parameter of a run; `value` is its text, `number` its value when it is a number."""

    __tablename__ = "params"
    __table_args__ = (
        Index("ix_params_number", "key", "number", "run_id"),
        Index("ix_params_head", "key", "head", "run_id"),
    )
    run_id: Mapped[str] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True)
    key: Mapped[str] = mapped_column(String(512), primary_key=True)
    value: Mapped[str] = mapped_column(Text)
    number: Mapped[float | None]
    head: Mapped[str] = _head()


class Tag(Table):
    """A tag of a run."""

    __tablename__ = "tags"
    __table_args__ = (Index("ix_tags_head", "key", "head", "run_id"),)
    run_id: Mapped[str] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True)
    key: Mapped[str] = mapped_column(String(512), primary_key=True)
    value: Mapped[str] = mapped_column(Text)
    head: Mapped[str] = _head()


class Note(Table):
    """Something that a client could not store, and why."""

    __tablename__ = "notes"
    run_id: Mapped[str] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True)
    key: Mapped[str] = mapped_column(String(512), primary_key=True)
    reason: Mapped[str] = mapped_column(Text)


class Capture(Table):
    """What a script was when it started: what lists show of it, and `content`, all of it (see store/captures.py)."""

    __tablename__ = "captures"
    run_id: Mapped[str] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True)
    writer: Mapped[str] = mapped_column(String(64), primary_key=True)
    captured_at: Mapped[datetime]
    attempt: Mapped[int]
    program: Mapped[str | None] = mapped_column(Text)
    branch: Mapped[str | None] = mapped_column(Text)
    commit: Mapped[str | None] = mapped_column(String(64))
    dirty: Mapped[bool | None]
    content: Mapped[bytes] = mapped_column(deferred=True)


class Summary(Table):
    """What all points of a metric come to, of all ranks and attempts.

    `last` is that of the newest attempt's lowest rank: `last_restarts`, `last_rank` and `last_time_us` (microseconds
    since 1970) tell whose it is. It is None for NaN, which SQLite cannot keep. Least, greatest, total and `spread` are
    of finite values; the latter is the sum of their squared distances from their mean, None where it is not known.
    """

    __tablename__ = "summaries"
    run_id: Mapped[str] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True)
    metric: Mapped[str] = mapped_column(String(512), primary_key=True)
    last: Mapped[float | None]
    last_step: Mapped[int]
    last_restarts: Mapped[int] = mapped_column(default=0)
    last_rank: Mapped[int] = mapped_column(default=0)
    last_time_us: Mapped[int] = mapped_column(default=0)
    min: Mapped[float | None]
    max: Mapped[float | None]
    total: Mapped[float]
    spread: Mapped[float | None]
    finite_count: Mapped[int]
    count: Mapped[int]


class Result(Table):
    """What lists sort by of a summary, copied from it when points have ceased to come (see store/results.py)."""

    __tablename__ = "results"
    __table_args__ = (
        Index("ix_results_last", "metric", "last", "run_id"),
        Index("ix_results_min", "metric", "min", "run_id"),
        Index("ix_results_max", "metric", "max", "run_id"),
    )
    run_id: Mapped[str] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True)
    metric: Mapped[str] = mapped_column(String(512), primary_key=True)
    last: Mapped[float | None]
    min: Mapped[float | None]
    max: Mapped[float | None]


class Segment(Table):
    """Consecutive points of one writer's series, packed (see store/segments.py). `start`: the place of the first one.

    By the least and greatest step and time (microseconds since 1970) a chart knows whether it shows them. `fine` and
    `coarse` are thinned; None where they would be as many as the points themselves.
    """

    __tablename__ = "segments"
    run_id: Mapped[str] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True)
    metric: Mapped[str] = mapped_column(String(512), primary_key=True)
    writer: Mapped[str] = mapped_column(String(64), primary_key=True)
    start: Mapped[int] = mapped_column(primary_key=True)
    count: Mapped[int]
    least_step: Mapped[int]
    greatest_step: Mapped[int]
    least_time_us: Mapped[int]
    greatest_time_us: Mapped[int]
    coarse: Mapped[bytes | None]
    fine: Mapped[bytes | None]
    points: Mapped[bytes]  # the last one: SQLite reads through a long column to those after it


class Batch(Table):
    """What one request brought of one writer: `points` points of any metrics, packed (see store/batches.py).

    `due`: with it there are so many that they should be compacted (see store/compaction.py).
    """

    __tablename__ = "batches"
    __table_args__ = (
        Index("ix_batches_due", "run_id", "writer", sqlite_where=text("due"), postgresql_where=text("due")),
    )
    run_id: Mapped[str] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True)
    writer: Mapped[str] = mapped_column(String(64), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    points: Mapped[int]
    due: Mapped[bool] = mapped_column(default=False)
    content: Mapped[bytes]


class Writer(Table):
    """A spool file: how far it is stored, and who writes it.

    `restarts`: Slurm's count of requeues before the attempt in which it is written. `first_step`: the step of its first
    line of points. Both are None until it has points. `kind`: SCRIPT or MACHINE (see store/writers.py).
    `clock_skew_us` is added to the times in it. `batches` counts all that came of it.
    """

    __tablename__ = "writers"
    run_id: Mapped[str] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True)
    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    offset_bytes: Mapped[int] = mapped_column(default=0)
    next_step: Mapped[int] = mapped_column(default=0)
    rejected_lines: Mapped[int] = mapped_column(default=0)
    node: Mapped[str | None] = mapped_column(Text)
    rank: Mapped[int] = mapped_column(default=0)
    kind: Mapped[str] = mapped_column(String(8), default="script")
    restarts: Mapped[int | None]
    first_step: Mapped[int | None]
    clock_skew_us: Mapped[int] = mapped_column(default=0)
    batches: Mapped[int] = mapped_column(default=0)


class Log(Table):
    """An output stream of a run: where it is written, and how far it is stored.

    `offset_bytes` is the next byte wanted of the file, which `file` identifies; `left_out_bytes` were jumped over, as
    they came too fast. `pieces` counts all pieces there ever were, `kept_bytes` what the kept ones hold.
    """

    __tablename__ = "logs"
    __table_args__ = (Index("ix_logs_followed", "complete", "node"),)
    run_id: Mapped[str] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True)
    stream: Mapped[str] = mapped_column(String(8), primary_key=True)
    path: Mapped[str] = mapped_column(Text)
    node: Mapped[str | None] = mapped_column(Text)
    uid: Mapped[int | None]
    file: Mapped[str | None] = mapped_column(String(40))
    offset_bytes: Mapped[int] = mapped_column(default=0)
    left_out_bytes: Mapped[int] = mapped_column(default=0)
    kept_bytes: Mapped[int] = mapped_column(default=0)
    pieces: Mapped[int] = mapped_column(default=0)
    complete: Mapped[bool] = mapped_column(default=False)
    problem: Mapped[str | None] = mapped_column(Text)


class Artifact(Table):
    """A file or a folder that a run made. `id` is the client's; `file_count` and `files` are of a folder only.

    `copied_to`: the store that keeps a copy by the digest. `problem`: why there is no digest.
    """

    __tablename__ = "artifacts"
    __table_args__ = (Index("ix_artifacts_logged", "run_id", "logged_at"),)
    run_id: Mapped[str] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True)
    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    name: Mapped[str] = mapped_column(Text)
    path: Mapped[str] = mapped_column(Text)
    size_bytes: Mapped[int]
    modified_at: Mapped[datetime | None]
    logged_at: Mapped[datetime]
    step: Mapped[int | None]
    sha256: Mapped[str | None] = mapped_column(String(64))
    copied_to: Mapped[str | None] = mapped_column(Text)
    problem: Mapped[str | None] = mapped_column(Text)
    file_count: Mapped[int | None]
    files: Mapped[list[dict[str, Any]]] = mapped_column(types.JSON, default=list, deferred=True)


class Medium(Table):
    """An image as it came, or a histogram or table as JSON: a line at `offset_bytes` of a writer's file."""

    __tablename__ = "media"
    __table_args__ = (Index("ix_media_shown", "run_id", "kind", "name", "step"),)
    run_id: Mapped[str] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True)
    writer: Mapped[str] = mapped_column(String(64), primary_key=True)
    offset_bytes: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(String(16))
    name: Mapped[str] = mapped_column(String(512))
    step: Mapped[int]
    logged_at: Mapped[datetime]
    size_bytes: Mapped[int]
    content_type: Mapped[str] = mapped_column(String(32))
    content: Mapped[bytes] = mapped_column(deferred=True)

    @property
    def id(self) -> str:
        """How it is called within its run."""
        return f"{self.writer}.{self.offset_bytes}"


class LogPiece(Table):
    """A piece of an output stream, numbered from 0, without what was drawn over in it.

    `left_out_bytes` came before it and were jumped over; `anew`: the file was written anew before it.
    """

    __tablename__ = "log_pieces"
    run_id: Mapped[str] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True)
    stream: Mapped[str] = mapped_column(String(8), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    content: Mapped[bytes]
    left_out_bytes: Mapped[int] = mapped_column(default=0)
    anew: Mapped[bool] = mapped_column(default=False)


class HookEvent(Table):
    """A hook's event that was applied, so that a repetition changes nothing."""

    __tablename__ = "hook_events"
    __table_args__ = (Index("ix_hook_events_event", "cluster", "node", "name", "happened_at"),)
    run_id: Mapped[str] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True)
    cluster: Mapped[str] = mapped_column(Text, primary_key=True)
    node: Mapped[str] = mapped_column(Text, primary_key=True)
    name: Mapped[str] = mapped_column(Text, primary_key=True)
    happened_at: Mapped[datetime] = mapped_column(primary_key=True)


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
    due: Mapped[bool] = mapped_column(default=False)
    cpu_s: Mapped[float | None]
    used_memory_bytes: Mapped[int | None]


class Clock(Table):
    """How much a node's clock is behind the server's (`skew_us`, negative: ahead), as its agent's requests show."""

    __tablename__ = "clocks"
    cluster: Mapped[str] = mapped_column(String(64), primary_key=True)
    node: Mapped[str] = mapped_column(String(255), primary_key=True)
    skew_us: Mapped[int]
    measured_at: Mapped[datetime]


class Token(Table):
    """A key to the API. Only its hash is kept."""

    __tablename__ = "tokens"
    hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    user: Mapped[str] = mapped_column(Text)
    role: Mapped[str] = mapped_column(String(16))
    purpose: Mapped[str] = mapped_column(String(16))
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
