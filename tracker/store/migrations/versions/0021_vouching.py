"""Credentials that were used, keys with which we sign, and keys of agents of one node"""

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go to this form."""
    op.create_table(
        "spent_credentials",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("until", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_spent_credentials"),
    )
    op.create_index("ix_spent_credentials_until", "spent_credentials", ["until"])
    op.create_table(
        "signing_keys",
        sa.Column("name", sa.String(16), nullable=False),
        sa.Column("secret", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_signing_keys"),
    )
    op.add_column("tokens", sa.Column("node", sa.Text(), nullable=True))


def downgrade() -> None:
    """Go back to the form before, which would take a key of one node for one of all."""
    op.execute("DELETE FROM tokens WHERE node IS NOT NULL")
    with op.batch_alter_table("tokens") as tokens:
        tokens.drop_column("node")
    op.drop_table("signing_keys")
    op.drop_table("spent_credentials")
