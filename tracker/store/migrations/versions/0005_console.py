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
    pieces = sa.table("log_pieces", *(sa.column(name) for name in ("run_id", "stream", "number", "content")))
    op.execute(pieces.insert().from_select(["run_id", "stream", "number", "content"], kept))
    op.execute(
        _LOGS.update()
        .where(length > 0)
        .values(offset_bytes=_LOGS.c.offset_bytes + length, kept_bytes=length, pieces=cut + 1)
    )
    with op.batch_alter_table("logs") as logs:
        logs.drop_column("content")
