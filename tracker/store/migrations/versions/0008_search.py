"""Quick filters and orders"""

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go to this form."""


def downgrade() -> None:
    """Go back to the form before."""
