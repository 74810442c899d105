"""When lines of a run came last, beside the moment of the last change, which lists sort by"""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go to this form."""
    op.add_column("runs", sa.Column("heard_at", sa.BigInteger(), nullable=True))
    if op.get_bind().dialect.name == "postgresql":
        # A row that changes with each request: room in its page, so that no index needs to change.
        op.execute("ALTER TABLE runs SET (fillfactor = 70)")


def downgrade() -> None:
    """Go back to the form before."""
    if op.get_bind().dialect.name == "postgresql":
        op.execute("ALTER TABLE runs RESET (fillfactor)")
    with op.batch_alter_table("runs") as runs:
        runs.drop_column("heard_at")
