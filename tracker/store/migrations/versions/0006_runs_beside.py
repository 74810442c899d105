"""Runs beside that of their job"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go to this form."""
    op.add_column("runs", sa.Column("parent_id", sa.String(length=36), nullable=True))
    op.create_index(op.f("ix_runs_parent_id"), "runs", ["parent_id"])


def downgrade() -> None:
    """Go back to the form before: a run beside that of its job is one of its own."""
    op.drop_index(op.f("ix_runs_parent_id"), table_name="runs")
    op.drop_column("runs", "parent_id")
