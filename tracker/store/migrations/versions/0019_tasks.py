"""How many tasks a job has that runs or ran"""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go to this form."""
    op.add_column("usages", sa.Column("tasks", sa.BigInteger(), nullable=True))


def downgrade() -> None:
    """Go back to the form before."""
    with op.batch_alter_table("usages") as usages:
        usages.drop_column("tasks")
