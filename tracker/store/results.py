"""Results: what lists sort by, in indexes.

Summaries change with each request of a live run, 30,000 rows a second on a large cluster, and an index on what changes
would cost more than all the rest. So summaries have none, and what finished runs came to is copied into results, which
have. A run has results unless it is *due*: points came since. Whoever sorts or looks by a metric takes results, and the
summaries of the few runs that are due (docs/decisions/010-results.md).
"""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import delete, insert, select, update
from sqlalchemy.orm import Session

from tracker.states import FINAL_STATES
from tracker.store.tables import Result, Run, Summary, is_set

RUNS_AT_ONCE = 200
_UNSEEN = {"synchronize_session": False}
_COPIED = ("run_id", "metric", "last", "min", "max")


def forget(session: Session, run_ids: Collection[str]) -> None:
    """The summaries of these runs have changed: they are due. Called in the transaction that changes them."""
    if not run_ids:
        return
    due = update(Run).where(Run.id.in_(list(run_ids)), Run.results_due.is_(False)).values(results_due=True)
    changed = session.scalars(due.returning(Run.id), execution_options=_UNSEEN).all()
    if changed:
        session.execute(delete(Result).where(Result.run_id.in_(changed)), execution_options=_UNSEEN)


def make(session: Session) -> int:
    """Make the results of runs that are over and due, some at a time; answer of how many. Again until it is none."""
    chosen = select(Run.id).where(is_set(Run.results_due), Run.state.in_(FINAL_STATES)).limit(RUNS_AT_ONCE)
    ids = session.scalars(chosen.with_for_update(skip_locked=True)).all()
    if ids:
        copied = select(*(getattr(Summary, name) for name in _COPIED)).where(Summary.run_id.in_(ids))
        session.execute(insert(Result).from_select(_COPIED, copied))
        session.execute(update(Run).where(Run.id.in_(ids)).values(results_due=False), execution_options=_UNSEEN)
    return len(ids)
