"""Quick filters and orders"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go to this form: beginnings of texts and results of metrics have indexes; what has points is due."""
    head = sa.String(length=64, collation="C").with_variant(sa.String(length=64), "sqlite")
    stored = op.get_bind().dialect.name == "postgresql" or None  # SQLite adds no such column, and needs none
    for table in ("params", "tags"):
        made = sa.Computed("substr(value, 1, 64)", persisted=stored)
        op.add_column(table, sa.Column("head", head, made, nullable=False))
        op.create_index(f"ix_{table}_head", table, ["key", "head", "run_id"])
    op.create_index("ix_params_number", "params", ["key", "number", "run_id"])
    op.add_column("summaries", sa.Column("spread", sa.Double(), nullable=True))
    op.create_table(
        "results",
        sa.Column("run_id", sa.String(length=36), nullable=False),
        sa.Column("metric", sa.String(length=512), nullable=False),
        *(sa.Column(name, sa.Double(), nullable=True) for name in ("last", "min", "max")),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_results_run_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("run_id", "metric", name=op.f("pk_results")),
    )
    for name in ("last", "min", "max"):
        op.create_index(f"ix_results_{name}", "results", ["metric", name, "run_id"])
    op.add_column("runs", sa.Column("results_due", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.execute("UPDATE runs SET results_due = true WHERE id IN (SELECT run_id FROM summaries)")
    due = sa.text("results_due")
    op.create_index("ix_runs_results_due", "runs", ["id"], sqlite_where=due, postgresql_where=due)


def downgrade() -> None:
    """Go back to the form before."""
    op.drop_index("ix_runs_results_due", table_name="runs")
    op.drop_column("runs", "results_due")
    op.drop_table("results")
    op.drop_column("summaries", "spread")
    op.drop_index("ix_params_number", table_name="params")
    for table in ("params", "tags"):
        op.drop_index(f"ix_{table}_head", table_name=table)
        op.drop_column(table, "head")
