"""Output in pieces; clocks of nodes"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_LOGS = sa.table(
    "logs",
    *(sa.column(name) for name in ("run_id", "stream", "offset_bytes", "content", "pieces", "kept_bytes")),
)
_PIECES = sa.table("log_pieces", *(sa.column(name) for name in ("run_id", "stream", "number", "content")))


def upgrade() -> None:
    """Go to this form."""
    op.create_table(
        "log_pieces",
        sa.Column("run_id", sa.String(length=36), nullable=False),
        sa.Column("stream", sa.String(length=8), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.Column("left_out_bytes", sa.BigInteger(), nullable=False, server_default="0"),
        sa.Column("anew", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_log_pieces_run_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("run_id", "stream", "number", name=op.f("pk_log_pieces")),
    )
    op.create_table(
        "clocks",
        sa.Column("cluster", sa.String(length=64), nullable=False),
        sa.Column("node", sa.String(length=255), nullable=False),
        sa.Column("skew_us", sa.BigInteger(), nullable=False),
        sa.Column("measured_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("cluster", "node", name=op.f("pk_clocks")),
    )
    op.add_column("logs", sa.Column("file", sa.String(length=40), nullable=True))
    for name in ("left_out_bytes", "kept_bytes", "pieces"):
        op.add_column("logs", sa.Column(name, sa.BigInteger(), nullable=False, server_default="0"))
    op.add_column("writers", sa.Column("clock_skew_us", sa.BigInteger(), nullable=False, server_default="0"))
    # What was kept becomes one piece; before number 0 nothing is missing, so that it gets 1 where it was cut.
    length, cut = sa.func.length(_LOGS.c.content), sa.case((_LOGS.c.offset_bytes > 0, 1), else_=0)
    kept = sa.select(_LOGS.c.run_id, _LOGS.c.stream, cut, _LOGS.c.content).where(length > 0)
    op.execute(_PIECES.insert().from_select(["run_id", "stream", "number", "content"], kept))
    op.execute(
        _LOGS.update()
        .where(length > 0)
        .values(offset_bytes=_LOGS.c.offset_bytes + length, kept_bytes=length, pieces=cut + 1)
    )
    with op.batch_alter_table("logs") as logs:
        logs.drop_column("content")


def downgrade() -> None:
    """Go back to the form before: the kept pieces of a stream become one again, but for those of a file before."""
    op.add_column("logs", sa.Column("content", sa.LargeBinary(), nullable=False, server_default=""))
    connection = op.get_bind()
    pieces = sa.select(_PIECES.c.run_id, _PIECES.c.stream, _PIECES.c.content)
    streams = sa.select(_LOGS.c.run_id, _LOGS.c.stream, _LOGS.c.offset_bytes)
    for run_id, stream, next_bytes in connection.execute(streams).all():
        mine = pieces.where(_PIECES.c.run_id == run_id, _PIECES.c.stream == stream).order_by(_PIECES.c.number)
        content = b"".join(row.content for row in connection.execute(mine))
        content = content[max(0, len(content) - next_bytes) :]
        log = _LOGS.update().where(_LOGS.c.run_id == run_id, _LOGS.c.stream == stream)
        connection.execute(log.values(content=content, offset_bytes=next_bytes - len(content)))
    op.drop_column("writers", "clock_skew_us")
    for name in ("pieces", "kept_bytes", "left_out_bytes", "file"):
        op.drop_column("logs", name)
    op.drop_table("clocks")
    op.drop_table("log_pieces")
