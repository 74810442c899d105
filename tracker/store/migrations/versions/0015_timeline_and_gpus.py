"""What is told of a run over time, suspensions, and GPUs as intervals"""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

_ATTEMPTS = (
    ("start_source", sa.String(length=16)),
    ("end_source", sa.String(length=16)),
    ("gpu_count", sa.BigInteger()),
    ("suspended_s", sa.BigInteger()),
    ("shards", sa.BigInteger()),
)
_GPUS = (
    ("cluster", sa.Text()),
    ("started_at", sa.BigInteger()),
    ("ended_at", sa.BigInteger()),
    ("released_at", sa.BigInteger()),
    ("mig", sa.Text()),
)
_INDEXES = {
    "ix_gpus_node": ["cluster", "node", "started_at"],
    "ix_gpus_uuid": ["uuid", "started_at"],
    "ix_gpus_mig": ["mig", "started_at"],
    "ix_gpus_started_at": ["started_at"],
    "ix_gpus_ended_at": ["ended_at"],
}
# Of GPUs that are known already: they were held as long as their attempt.
_FILL = """
UPDATE gpus SET
  cluster = (SELECT runs.cluster FROM runs WHERE runs.id = gpus.run_id),
  started_at = (SELECT a.started_at FROM attempts AS a WHERE a.run_id = gpus.run_id AND a.number = gpus.attempt),
  ended_at = (SELECT a.ended_at FROM attempts AS a WHERE a.run_id = gpus.run_id AND a.number = gpus.attempt)
"""


def upgrade() -> None:
    """Go to this form."""
    op.create_table(
        "moments",
        sa.Column("run_id", sa.String(length=36), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("word", sa.Text(), nullable=True),
        sa.Column("source", sa.String(length=16), nullable=False),
        sa.Column("changes", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_moments_run_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("run_id", "kind", "at", name=op.f("pk_moments")),
    )
    op.create_table(
        "suspensions",
        sa.Column("run_id", sa.String(length=36), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=False),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.Column("source", sa.String(length=16), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_suspensions_run_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("run_id", "started_at", name=op.f("pk_suspensions")),
    )
    op.add_column("runs", sa.Column("reasons_told", sa.BigInteger(), nullable=False, server_default="0"))
    for table, columns in (("attempts", _ATTEMPTS), ("gpus", _GPUS)):
        for name, kind in columns:
            op.add_column(table, sa.Column(name, kind, nullable=True))
    op.execute(_FILL)
    for name, indexed in _INDEXES.items():
        op.create_index(name, "gpus", indexed)
    op.create_index("ix_attempts_started_at", "attempts", ["started_at"])


def downgrade() -> None:
    """Go back to the form before. The timeline is not kept."""
    op.drop_index("ix_attempts_started_at", table_name="attempts")
    for name in reversed(_INDEXES):
        op.drop_index(name, table_name="gpus")
    for table, columns in (("gpus", _GPUS), ("attempts", _ATTEMPTS)):
        with op.batch_alter_table(table) as changed:
            for name, _ in reversed(columns):
                changed.drop_column(name)
    with op.batch_alter_table("runs") as runs:
        runs.drop_column("reasons_told")
    op.drop_table("suspensions")
    op.drop_table("moments")
