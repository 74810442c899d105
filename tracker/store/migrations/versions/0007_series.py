"""The store of series: what requests bring is kept as batches first, and compacted into segments with levels"""

import zlib
from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np
import sqlalchemy as sa
from alembic import op
from sqlalchemy.orm import Session

from tracker.store import compaction, segments
from tracker.store.points import Ints, Points

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_OLD_POINTS = 8192
_BEFORE = sa.table(
    "segments_before",
    *map(sa.column, ("run_id", "metric", "writer", "number", "start", "steps", "times", "values", "points")),
)


def upgrade() -> None:
    """Go to this form."""
    op.create_table(
        "batches",
        sa.Column("run_id", sa.String(length=36), nullable=False),
        sa.Column("writer", sa.String(length=64), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("points", sa.BigInteger(), nullable=False),
        sa.Column("due", sa.Boolean(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_batches_run_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("run_id", "writer", "number", name=op.f("pk_batches")),
    )
    is_due = sa.text("due")
    op.create_index("ix_batches_due", "batches", ["run_id", "writer"], sqlite_where=is_due, postgresql_where=is_due)
    op.add_column("writers", sa.Column("batches", sa.BigInteger(), nullable=False, server_default="0"))
    if op.get_bind().dialect.name == "postgresql":
        # Batches live for minutes: trying to compress them would cost more than it saves.
        op.execute("ALTER TABLE batches ALTER COLUMN content SET STORAGE EXTERNAL")
        # Rows that change with each request: room in their page, so that no index needs to change.
        op.execute("ALTER TABLE writers SET (fillfactor = 70)")
        op.execute("ALTER TABLE summaries SET (fillfactor = 70)")
    _replace_segments(
        "start",
        sa.Column("least_step", sa.BigInteger(), nullable=False),
        sa.Column("greatest_step", sa.BigInteger(), nullable=False),
        sa.Column("least_time_us", sa.BigInteger(), nullable=False),
        sa.Column("greatest_time_us", sa.BigInteger(), nullable=False),
        sa.Column("coarse", sa.LargeBinary(), nullable=True),
        sa.Column("fine", sa.LargeBinary(), nullable=True),
        sa.Column("points", sa.LargeBinary(), nullable=False),  # the last one: SQLite reads through it to others
    )
    if op.get_bind().dialect.name == "postgresql":  # packed already
        for name in ("points", "fine", "coarse"):
            op.execute(f"ALTER TABLE segments ALTER COLUMN {name} SET STORAGE EXTERNAL")
    read = [_BEFORE.c[name] for name in ("steps", "times", "values")]
    with Session(op.get_bind()) as session:
        for (run_id, metric, writer), rows in _before("number", read):
            for pieces in _by(segments.SEGMENT_POINTS // _OLD_POINTS, rows):
                points = Points.joined([_unpacked(*map(bytes, row)) for row in pieces])
                segments.extend(session, run_id, writer, {metric: points})
        session.flush()
    op.drop_table("segments_before")


def downgrade() -> None:
    """Go back to the form before: segments of three columns, and nothing that waits to become one."""
    with Session(op.get_bind()) as session:
        for run_id, writer in session.execute(sa.text("SELECT DISTINCT run_id, writer FROM batches")).all():
            while compaction.compact(session, run_id, writer):
                pass
        session.flush()
    _replace_segments(
        "number",
        sa.Column("steps", sa.LargeBinary(), nullable=False),
        sa.Column("times", sa.LargeBinary(), nullable=False),
        sa.Column("values", sa.LargeBinary(), nullable=False),
    )
    bind, into = (
        op.get_bind(),
        sa.table(
            "segments", *map(sa.column, ("run_id", "metric", "writer", "number", "count", "steps", "times", "values"))
        ),
    )
    for (run_id, metric, writer), rows in _before("start", [_BEFORE.c.points]):
        number = 0
        for (packed,) in rows:  # psycopg2 gives views where no type is told
            whole = Points.unpacked(bytes(packed))
            for at in range(0, len(whole), _OLD_POINTS):
                part = whole[at : at + _OLD_POINTS]
                key = {"run_id": run_id, "metric": metric, "writer": writer, "number": number}
                bind.execute(into.insert(), {**key, "count": len(part), **_packed(part)})
                number += 1
    op.drop_table("segments_before")
    op.drop_table("batches")
    with op.batch_alter_table("writers") as writers:
        writers.drop_column("batches")
    if op.get_bind().dialect.name == "postgresql":
        op.execute("ALTER TABLE writers RESET (fillfactor)")
        op.execute("ALTER TABLE summaries RESET (fillfactor)")


def _replace_segments(place: str, *columns: sa.Column[Any]) -> None:
    """Put the table away as `segments_before`, and make one in which `place` is the last part of the key."""
    op.rename_table("segments", "segments_before")
    if op.get_bind().dialect.name == "postgresql":
        op.execute("ALTER TABLE segments_before RENAME CONSTRAINT pk_segments TO pk_segments_before")
    op.create_table(
        "segments",
        sa.Column("run_id", sa.String(length=36), nullable=False),
        sa.Column("metric", sa.String(length=512), nullable=False),
        sa.Column("writer", sa.String(length=64), nullable=False),
        sa.Column(place, sa.BigInteger(), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        *columns,
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_segments_run_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("run_id", "metric", "writer", place, name=op.f("pk_segments")),
    )


def _before(place: str, columns: list[Any]) -> Iterator[tuple[tuple[str, str, str], Iterator[Any]]]:
    """What was put away, series by series, each writer's in order; never more than a few rows at a time."""
    key = [_BEFORE.c[name] for name in ("run_id", "metric", "writer")]
    bind = op.get_bind()
    for series in bind.execute(sa.select(*key).distinct().order_by(*key)).all():
        mine = [column == name for column, name in zip(key, series, strict=True)]
        query = sa.select(*columns).where(*mine).order_by(_BEFORE.c[place])
        yield tuple(series), iter(bind.execute(query))


def _by(size: int, rows: Iterator[Any]) -> Iterator[list[Any]]:
    while portion := list(islice(rows, size)):
        yield portion


def _unpacked(steps: bytes, times: bytes, values: bytes) -> Points:
    return Points(_ints(steps), _ints(times), np.frombuffer(zlib.decompress(values), "<f8"))


def _ints(packed: bytes) -> Ints:
    return np.cumsum(np.frombuffer(zlib.decompress(packed), "<i8"), dtype=np.int64)


def _packed(points: Points) -> dict[str, bytes]:
    differences = [np.diff(column, prepend=np.int64(0)) for column in (points.steps, points.times_us)]
    columns = [column.astype("<i8") for column in differences] + [points.values.astype("<f8")]
    return dict(zip(("steps", "times", "values"), (zlib.compress(one.tobytes(), 1) for one in columns), strict=True))
