"""End the runs outside Slurm of which nothing is heard any more: nobody else tells that their programs died."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from tracker.store import silence
from tracker.store.database import Database


def end_silent(db: Database, silent_for: timedelta, now: datetime, is_over: Callable[[], bool] = lambda: False) -> int:
    """Call them LOST, in small transactions; answer how many. Ends early when `is_over` says so.

    Done twice it changes nothing. What comes of them later makes them RUNNING again.
    """
    done = 0
    while not is_over():
        with db.write() as session:
            ended = silence.end_silent(session, now - silent_for, now)
        if not ended:
            break
        done += ended
    return done
