"""Retention and maintenance"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go to this form."""
    op.add_column("experiments", sa.Column("thin_after_days", sa.BigInteger(), nullable=True))
    op.add_column("experiments", sa.Column("drop_points_after_days", sa.BigInteger(), nullable=True))
    op.add_column("runs", sa.Column("points_kept", sa.String(length=8), nullable=False, server_default="all"))
    deleted = sa.text("deleted_at IS NOT NULL")
    op.create_index("ix_runs_deleted", "runs", ["deleted_at"], sqlite_where=deleted, postgresql_where=deleted)


def downgrade() -> None:
    """Go back to the form before. What was thinned or dropped does not come back."""
    op.drop_index("ix_runs_deleted", table_name="runs")
    op.drop_column("runs", "points_kept")
    op.drop_column("experiments", "drop_points_after_days")
    op.drop_column("experiments", "thin_after_days")
