"""When a run was last heard of: at a change (`updated_at`), or when lines, points or output came (`heard_at`)."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import case

from tracker.store.tables import Run

STAMPED_EVERY = timedelta(seconds=60)
"""While they come, `updated_at` follows `heard_at` so far behind: it is in an index, and then all indexes change."""
CHANGED_AT = case((Run.heard_at > Run.updated_at, Run.heard_at), else_=Run.updated_at)
"""The later one of both."""


def stamp(run: Run, now: datetime) -> None:
    """Say of a run, which the caller holds locked, that something came."""
    run.heard_at = now
    if run.updated_at < now - STAMPED_EVERY:
        run.updated_at = now
