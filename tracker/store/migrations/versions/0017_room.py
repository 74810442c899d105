"""Room on each page for new versions of summaries: one request changes all that a run has"""

from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go to this form."""
    _fill(45)


def downgrade() -> None:
    """Go back to the form before."""
    _fill(70)


def _fill(percent: int) -> None:
    """Each part of the table where it is partitioned, which has no pages itself."""
    if op.get_bind().dialect.name == "postgresql":
        op.execute(f"""
            DO $$ DECLARE one regclass; BEGIN
                FOR one IN SELECT oid FROM pg_class WHERE oid = 'summaries'::regclass AND relkind = 'r'
                    UNION SELECT inhrelid FROM pg_inherits WHERE inhparent = 'summaries'::regclass LOOP
                    EXECUTE format('ALTER TABLE %s SET (fillfactor = {percent})', one);
                END LOOP;
            END $$
        """)
