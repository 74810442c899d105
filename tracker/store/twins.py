"""Twins: two runs that turn out to be one, of which one takes over all that the other has.

Rows are copied to the run that stays and go with the one that goes. Their key is never changed: a database that spreads
runs over machines refuses that (docs/scaling.md).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Insert, case, delete, select, tuple_, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from tracker.store import results
from tracker.store.retention import tables_of_runs
from tracker.store.tables import LogPiece, Run, Table

TWINS_A_STATEMENT = 200
_UNSEEN = {"synchronize_session": False}


def absorb(session: Session, twins: Sequence[tuple[Run, Run]]) -> None:
    """Give everything that the first of each pair has to the second, and forget the first: both are one run.

    What both have is taken from the first. For any number of pairs in as many statements; none of what the runs have
    may be loaded in the session.
    """
    for start in range(0, len(twins), TWINS_A_STATEMENT):
        _absorb(session, {newer.id: into.id for newer, into in twins[start : start + TWINS_A_STATEMENT]})
    for newer, _ in twins:
        session.expunge(newer)


def _absorb(session: Session, into: Mapping[str, str]) -> None:
    results.forget(session, [*into, *into.values()])
    _forget_streams_that_both_have(session, into)
    for table in tables_of_runs():
        session.execute(_copied(session.get_bind().dialect.name, table, into))
    begun = update(Run).where(Run.parent_id.in_(list(into))).values(parent_id=case(dict(into), value=Run.parent_id))
    session.execute(begun, execution_options=_UNSEEN)
    session.execute(delete(Run).where(Run.id.in_(list(into))), execution_options=_UNSEEN)  # and with it all that it had


def _copied(dialect: str, table: type[Table], into: Mapping[str, str]) -> Insert:
    """The rows of the runs that go, as rows of those that stay."""
    columns = {one.name: one for one in table.__table__.columns if one.computed is None}
    mine = columns.pop("run_id")
    theirs = select(case(dict(into), value=mine), *columns.values()).where(mine.in_(list(into)))
    insert: Any = (postgresql.insert if dialect == "postgresql" else sqlite.insert)(table)
    copied = insert.from_select([mine.name, *columns], theirs)
    others = {name: copied.excluded[name] for name, column in columns.items() if not column.primary_key}
    if not others:
        return copied.on_conflict_do_nothing()  # type: ignore[no-any-return]
    key = [column.name for column in table.__table__.primary_key]
    return copied.on_conflict_do_update(index_elements=key, set_=others)  # type: ignore[no-any-return]


def _forget_streams_that_both_have(session: Session, into: Mapping[str, str]) -> None:
    """Pieces of one stream belong together: they are taken from one side as a whole."""
    newer = select(LogPiece.run_id, LogPiece.stream).where(LogPiece.run_id.in_(list(into))).distinct()
    both = [(into[run_id], stream) for run_id, stream in session.execute(newer)]
    if both:
        its = tuple_(LogPiece.run_id, LogPiece.stream).in_(both)
        session.execute(delete(LogPiece).where(its), execution_options=_UNSEEN)
