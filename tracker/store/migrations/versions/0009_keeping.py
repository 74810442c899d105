"""Retention and maintenance"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_EVENT = ("cluster", "node", "name", "happened_at")


def upgrade() -> None:
    """Go to this form. The key of hooks' events begins with their run, as that of every large table does."""
    op.add_column("experiments", sa.Column("thin_after_days", sa.BigInteger(), nullable=True))
    op.add_column("experiments", sa.Column("drop_points_after_days", sa.BigInteger(), nullable=True))
    op.add_column("runs", sa.Column("points_kept", sa.String(length=8), nullable=False, server_default="all"))
    deleted = sa.text("deleted_at IS NOT NULL")
    op.create_index("ix_runs_deleted", "runs", ["deleted_at"], sqlite_where=deleted, postgresql_where=deleted)
    with _hook_events_made_anew():
        _make_hook_events(sa.PrimaryKeyConstraint("run_id", *_EVENT, name=op.f("pk_hook_events")))
        op.create_index("ix_hook_events_event", "hook_events", list(_EVENT))


def downgrade() -> None:
    """Go back to the form before. What was thinned or dropped does not come back."""
    with _hook_events_made_anew():
        _make_hook_events(
            sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
            sa.PrimaryKeyConstraint("id", name=op.f("pk_hook_events")),
            sa.UniqueConstraint(*_EVENT, name=op.f("uq_hook_events_cluster")),
        )
        op.create_index(op.f("ix_hook_events_run_id"), "hook_events", ["run_id"])
    op.drop_index("ix_runs_deleted", table_name="runs")
    op.drop_column("runs", "points_kept")
    op.drop_column("experiments", "drop_points_after_days")
    op.drop_column("experiments", "thin_after_days")


@contextmanager
def _hook_events_made_anew() -> Iterator[None]:
    columns = ", ".join(("run_id", *_EVENT))
    op.execute(f"CREATE TABLE hook_events_before AS SELECT {columns} FROM hook_events")
    op.drop_table("hook_events")
    yield
    op.execute(f"INSERT INTO hook_events ({columns}) SELECT {columns} FROM hook_events_before")
    op.drop_table("hook_events_before")


def _make_hook_events(*more: sa.Column[Any] | sa.Constraint) -> None:
    op.create_table(
        "hook_events",
        sa.Column("run_id", sa.String(length=36), nullable=False),
        sa.Column("cluster", sa.Text(), nullable=False),
        sa.Column("node", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("happened_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_hook_events_run_id"), ondelete="CASCADE"),
        *more,
    )
