"""The store of series"""

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go to this form."""


def downgrade() -> None:
    """Go back to the form before."""
