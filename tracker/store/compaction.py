"""Compaction: batches become segments, all of a writer's at once, in one transaction, so that nothing is lost or twice.

A writer is due when many batches wait, so that a chart never reads more than that; and when its run has been quiet for
a while, so that in the end everything is small and quick.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from tracker.store import batches, segments
from tracker.store.tables import Batch, Run, is_set

MOST_POINTS = 1_000_000
"""Points compacted in one transaction, and in memory at once; a single batch may have more."""


def due(session: Session) -> list[tuple[str, str]]:
    """Run and name of the writers of whom many batches wait."""
    query = select(Batch.run_id, Batch.writer).where(is_set(Batch.due)).distinct()
    return [(run_id, writer) for run_id, writer in session.execute(query)]


def left_behind(session: Session, before: datetime) -> list[tuple[str, str]]:
    """Run and name of the writers of whom batches wait though their run has been quiet since then."""
    query = select(Batch.run_id, Batch.writer).join(Run, Run.id == Batch.run_id).where(Run.updated_at < before)
    return [(run_id, writer) for run_id, writer in session.execute(query.distinct())]


def of_run(session: Session, run_id: str) -> list[tuple[str, str]]:
    """Run and name of the writers of a run of whom batches wait."""
    query = select(Batch.run_id, Batch.writer).where(Batch.run_id == run_id)
    return [(run_id, writer) for run_id, writer in session.execute(query.distinct())]


def compact(session: Session, run_id: str, writer: str) -> bool:
    """Make segments of a writer's batches, of as many as may be in memory; answer whether there are more.

    The run is locked, so that whoever else works on it comes before or after.
    """
    session.execute(select(Run.id).where(Run.id == run_id).with_for_update())
    last, is_all = _portion(session, run_id, writer)
    if last is None:
        return False
    pending = batches.pending(session, run_id, writer=writer, up_to=last)
    segments.extend(session, run_id, writer, {one.metric: one.points for one in pending})
    batches.remove(session, run_id, {writer: last})
    return not is_all


def _portion(session: Session, run_id: str, writer: str) -> tuple[int | None, bool]:
    """The last of the batches to be taken now, None if there is none; and whether it is the last of all."""
    query = select(Batch.number, Batch.points).where(Batch.run_id == run_id, Batch.writer == writer)
    last, room = None, MOST_POINTS
    for number, points in session.execute(query.order_by(Batch.number)):
        room -= points
        if last is not None and room < 0:
            return last, False
        last = number
    return last, True
