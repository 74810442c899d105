"""Experiments that somebody made, without a run"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go to this form."""
    op.add_column("experiments", sa.Column("user", sa.Text(), nullable=True))


def downgrade() -> None:
    """Go back to the form before."""
    with op.batch_alter_table("experiments") as experiments:
        experiments.drop_column("user")
