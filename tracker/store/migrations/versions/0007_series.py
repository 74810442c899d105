"""The store of series: what requests bring is kept as batches first"""

import zlib

import numpy as np
import sqlalchemy as sa
from alembic import op
from numpy.typing import NDArray

from tracker.store import batches

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go to this form."""
    op.create_table(
        "batches",
        sa.Column("run_id", sa.String(length=36), nullable=False),
        sa.Column("writer", sa.String(length=64), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("points", sa.BigInteger(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_batches_run_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("run_id", "writer", "number", name=op.f("pk_batches")),
    )
    op.add_column("writers", sa.Column("batches", sa.BigInteger(), nullable=False, server_default="0"))
    if op.get_bind().dialect.name == "postgresql":
        # Batches live for minutes: trying to compress them would cost more than it saves.
        op.execute("ALTER TABLE batches ALTER COLUMN content SET STORAGE EXTERNAL")
        # Rows that change with each request: room in their page, so that no index needs to change.
        op.execute("ALTER TABLE writers SET (fillfactor = 70)")
        op.execute("ALTER TABLE summaries SET (fillfactor = 70)")


def downgrade() -> None:
    """Go back to the form before: what is in batches becomes segments."""
    connection = op.get_bind()
    columns = ("run_id", "metric", "writer", "number", "count", "steps", "times", "values")
    segments = sa.table("segments", *(sa.column(name) for name in columns))
    mine = sa.select(sa.func.coalesce(sa.func.max(segments.c.number), -1))
    query = "SELECT run_id, writer, content FROM batches ORDER BY run_id, writer, number"
    for run_id, writer, content in connection.execute(sa.text(query)).all():
        for metric, points in batches.points_of(batches.unpack(bytes(content))).items():
            row = {"run_id": run_id, "metric": metric, "writer": writer}
            last = mine.where(*(segments.c[name] == value for name, value in row.items()))
            number = connection.execute(last).scalar_one() + 1
            packed = {"steps": _packed(points.steps), "times": _packed(points.times_us)}
            values = zlib.compress(points.values.astype("<f8").tobytes(), 1)
            connection.execute(
                segments.insert().values(**row, number=number, count=len(points), **packed, values=values)
            )
    op.drop_table("batches")
    with op.batch_alter_table("writers") as writers:
        writers.drop_column("batches")
    if connection.dialect.name == "postgresql":
        op.execute("ALTER TABLE writers RESET (fillfactor)")
        op.execute("ALTER TABLE summaries RESET (fillfactor)")


def _packed(column: NDArray[np.int64]) -> bytes:
    return zlib.compress(np.diff(column, prepend=np.int64(0)).astype("<i8").tobytes(), 1)
