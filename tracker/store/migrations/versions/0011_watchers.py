"""Who watches a cluster, how, and what that costs"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

COLUMNS = (
    ("watcher", sa.Text()),
    ("watched_until", sa.BigInteger()),
    ("source", sa.Text()),
    ("slurm_version", sa.Text()),
)


def upgrade() -> None:
    """Go to this form."""
    for name, kind in COLUMNS:
        op.add_column("clusters", sa.Column(name, kind, nullable=True))
    op.add_column("clusters", sa.Column("lacks", sa.JSON(), nullable=False, server_default="[]"))
    op.add_column("clusters", sa.Column("questions", sa.JSON(), nullable=False, server_default="{}"))


def downgrade() -> None:
    """Go back to the form before."""
    with op.batch_alter_table("clusters") as clusters:
        for name in ("questions", "lacks", *(name for name, _ in reversed(COLUMNS))):
            clusters.drop_column(name)
