"""Make the results of finished runs, in the background: lists then find them by an index."""

from __future__ import annotations

from collections.abc import Callable

from tracker.store import results
from tracker.store.database import Database


def make_results(db: Database, is_over: Callable[[], bool] = lambda: False) -> int:
    """Make those that are due, in small transactions; answer of how many runs. Ends early when `is_over` says so."""
    done = 0
    while not is_over():
        with db.write() as session:
            made = results.make(session)
        if not made:
            break
        done += made
    return done
