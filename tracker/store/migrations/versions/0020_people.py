"""Accounts, tokens with names and scopes, and the audit log"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

OF_TOKENS: dict[str, Any] = {
    "name": sa.Text(),
    "scopes": sa.Text(),
    "family": sa.String(16),
    "last_used_at": sa.BigInteger(),
    "spent_at": sa.BigInteger(),
}


def upgrade() -> None:
    """Go to this form."""
    for name, kind in OF_TOKENS.items():
        op.add_column("tokens", sa.Column(name, kind, nullable=True))
    op.create_index("ix_tokens_family", "tokens", ["family"])
    op.create_table(
        "accounts",
        sa.Column("user", sa.Text(), nullable=False),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("password_hash", sa.Text(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("disabled_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("user", name="pk_accounts"),
    )
    op.create_table(
        "audit",
        sa.Column("id", sa.String(16), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("actor", "address", "action", "target", "detail")),
        sa.PrimaryKeyConstraint("id", name="pk_audit"),
    )
    op.create_index("ix_audit_at", "audit", ["at", "id"])


def downgrade() -> None:
    """Go back to the form before, which would take each token for one of all rights and for ever good."""
    op.execute("DELETE FROM tokens WHERE scopes IS NOT NULL OR family IS NOT NULL OR spent_at IS NOT NULL")
    op.drop_table("audit")
    op.drop_table("accounts")
    op.drop_index("ix_tokens_family", table_name="tokens")
    with op.batch_alter_table("tokens") as tokens:
        for name in OF_TOKENS:
            tokens.drop_column(name)
