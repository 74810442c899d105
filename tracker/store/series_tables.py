"""The tables of points: as they came, as segments, and what they come to."""

from __future__ import annotations

from sqlalchemy import ForeignKey, Index, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from tracker.store.table import Table


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
