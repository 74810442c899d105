"""Make segments of what requests brought, in the background: charts then read little, and little is kept."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import datetime, timedelta

from tracker.store import compaction
from tracker.store.database import Database

QUIET_FOR = timedelta(minutes=10)
"""What a run brought that has been quiet for so long is compacted, however little it is."""


def compact_due(db: Database, is_over: Callable[[], bool] = lambda: False) -> int:
    """Compact the writers of whom many batches wait; answer of how many. Ends early when `is_over` says so."""
    with db.read() as session:
        due = compaction.due(session)
    return _compact(db, due, is_over)


def compact_quiet(db: Database, now: datetime, is_over: Callable[[], bool] = lambda: False) -> int:
    """Compact what waits of quiet runs; answer of how many writers. Ends early when `is_over` says so."""
    with db.read() as session:
        left_behind = compaction.left_behind(session, now - QUIET_FOR)
    return _compact(db, left_behind, is_over)


def compact_run(db: Database, run_id: str) -> None:
    """Compact all that waits of a run."""
    with db.read() as session:
        waiting = compaction.of_run(session, run_id)
    _compact(db, waiting, lambda: False)


def _compact(db: Database, writers: list[tuple[str, str]], is_over: Callable[[], bool]) -> int:
    """One by one, each in transactions of its own; in any order, so that servers do not wait for each other."""
    random.shuffle(writers)
    done = 0
    for run_id, writer in writers:
        if is_over():
            break
        while _one_portion(db, run_id, writer) and not is_over():
            pass
        done += 1
    return done


def _one_portion(db: Database, run_id: str, writer: str) -> bool:
    with db.write() as session:
        return compaction.compact(session, run_id, writer)
