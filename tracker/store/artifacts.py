"""Artifacts: files and folders that runs made, where they lie and where their copies lie."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session, undefer

from tracker.errors import NotFound
from tracker.store.tables import Artifact
from tracker.store.upsert import upsert

MOST_ARTIFACTS = 1000
"""Artifacts of one run."""


def put(session: Session, run_id: str, rows: Sequence[dict[str, Any]]) -> int:
    """Keep artifacts, each with all its columns but the run; one of an id that is known is told anew.

    A run has at most MOST_ARTIFACTS; the answer counts those that were too many and are not kept.
    """
    if not rows:
        return 0
    newest = {row["id"]: row for row in rows}
    mine = Artifact.run_id == run_id
    known = set(session.scalars(select(Artifact.id).where(mine, Artifact.id.in_(newest))))
    have = session.scalar(select(func.count()).where(mine)) or 0
    fresh = [one for one in newest if one not in known]
    too_many = fresh[max(MOST_ARTIFACTS - have, 0) :]
    kept = [{"run_id": run_id, **row} for one, row in newest.items() if one not in too_many]
    if kept:
        upsert(session, Artifact, kept)
    return len(too_many)


def find(session: Session, run_id: str, limit: int) -> list[Artifact]:
    """Artifacts of a run, the one logged last first."""
    query = select(Artifact).where(Artifact.run_id == run_id)
    return list(session.scalars(query.order_by(Artifact.logged_at.desc(), Artifact.id).limit(limit)))


def count(session: Session, run_id: str) -> int:
    """How many artifacts a run has."""
    return session.scalar(select(func.count()).where(Artifact.run_id == run_id)) or 0


def get(session: Session, run_id: str, artifact_id: str) -> Artifact:
    """One artifact with its files. Raises NotFound."""
    mine = (Artifact.run_id == run_id, Artifact.id == artifact_id)
    found = session.scalar(select(Artifact).where(*mine).options(undefer(Artifact.files)))
    if found is None:
        raise NotFound(f"This run has no artifact `{artifact_id[:80]}`.")
    return found
