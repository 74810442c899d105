"""What jobs wait for, and what those that run or ended hold and have used"""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

TEXTS = ("planned_nodes", "dependency", "reservation", "features", "licenses")


def upgrade() -> None:
    """Go to this form."""
    op.create_table(
        "waits",
        sa.Column("cluster", sa.Text(), nullable=False),
        sa.Column("job_id", sa.BigInteger(), nullable=False),
        sa.Column("task_id", sa.BigInteger(), nullable=False),
        sa.Column("partition", sa.Text(), nullable=False),
        sa.Column("user", sa.Text(), nullable=True),
        sa.Column("priority", sa.BigInteger(), nullable=False),
        sa.Column("ranked", sa.Boolean(), nullable=False),
        *(sa.Column(f"{one}_at", sa.BigInteger()) for one in ("eligible", "estimate", "first_estimate", "started")),
        *(sa.Column(name, sa.Text(), nullable=True) for name in TEXTS),
        sa.Column("array_throttle", sa.BigInteger(), nullable=True),
        sa.Column("limit_words", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("cluster", "job_id", "task_id", name="pk_waits"),
    )
    op.create_index("ix_waits_started", "waits", ["cluster", "started_at"])
    op.create_table(
        "usages",
        sa.Column("run_id", sa.String(36), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=True),
        sa.Column("cpus", sa.BigInteger(), nullable=False),
        sa.Column("memory_bytes", sa.BigInteger(), nullable=False),
        sa.Column("nodes", sa.BigInteger(), nullable=False),
        sa.Column("due", sa.Boolean(), nullable=False),
        sa.Column("cpu_s", sa.Double(), nullable=True),
        sa.Column("used_memory_bytes", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name="fk_usages_run_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("run_id", name="pk_usages"),
    )
    due = sa.text("due")
    op.create_index("ix_usages_due", "usages", ["run_id"], sqlite_where=due, postgresql_where=due)


def downgrade() -> None:
    """Go back to the form before."""
    op.drop_table("usages")
    op.drop_table("waits")
