"""Prune: remove for good what was deleted long ago, and thin and drop points whose time has come.

Everything is done in small transactions, so that ingest never waits for it, and each can be the last one: what was
broken off goes on with the next call. Two at once get in each other's way, but not into trouble.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from tracker.actions.compact import compact_run
from tracker.settings import Settings
from tracker.store import audit, retention
from tracker.store.database import Database, Session
from tracker.store.tables import Batch, Segment, Table

RUNS_A_LOOK = 100
SERIES_A_LOOK = 1000
Report = Callable[[str, int], None]
_Find = Callable[[Session, int, str], list[str]]


@dataclass
class Pruned:
    """How many runs were purged, and of how many points were thinned or dropped; `points` they had in all."""

    purged_runs: int = 0
    thinned_runs: int = 0
    dropped_runs: int = 0
    points: int = 0
    audit_entries: int = 0


def prune(db: Database, settings: Settings, now: datetime, *, dry_run: bool, report: Report) -> Pruned:
    """Do what is due at that moment, or with `dry_run` only tell what would be done.

    `report` is told how many runs are done of each step.
    """
    done = Pruned()
    before = retention.days_ago(now, settings.purge_deleted_after_days)
    purge = partial(_purge, db, before)
    for run_id in _each(db, lambda session, limit, after: retention.deleted(session, before, limit, after), done):
        done.purged_runs += dry_run or purge(run_id)
        report("purged", done.purged_runs)
    days = retention.Rule("", settings.thin_points_after_days, settings.drop_points_after_days)
    for run_id in _each(db, lambda session, limit, after: retention.to_drop(session, days, now, limit, after), done):
        if not dry_run:
            _drop(db, run_id)
        done.dropped_runs += 1
        report("dropped", done.dropped_runs)
    for run_id in _each(db, lambda session, limit, after: retention.to_thin(session, days, now, limit, after), done):
        if not dry_run:
            _thin(db, run_id)
        done.thinned_runs += 1
        report("thinned", done.thinned_runs)
    if settings.audit_days:
        _forget(db, retention.days_ago(now, settings.audit_days), done, dry_run=dry_run, report=report)
    return done


def _forget(db: Database, before: datetime, done: Pruned, *, dry_run: bool, report: Report) -> None:
    """Remove entries of the audit log, and write there that this was done."""
    with db.read() as session:
        old = audit.count(session, before)
    while not dry_run and done.audit_entries < old:
        with db.write() as session:
            removed = audit.forget(session, before, retention.ROWS_AT_ONCE)
        if not removed:
            break
        done.audit_entries += removed
        report("audit entries", done.audit_entries)
    if dry_run:
        done.audit_entries = old
    elif done.audit_entries:
        with db.write() as session:
            audit.note(
                session,
                "tracker db prune",
                "audit.prune",
                f"{done.audit_entries} entries",
                f"of before {before:%Y-%m-%d}",
            )


def _each(db: Database, find: _Find, done: Pruned) -> Iterator[str]:
    """All runs that are found, some at a time, and their points counted."""
    after = ""
    while True:
        with db.read() as session:
            found = find(session, RUNS_A_LOOK, after)
            done.points += retention.points_of(session, found)
        yield from found
        if len(found) < RUNS_A_LOOK:
            return
        after = found[-1]


def _purge(db: Database, before: datetime, run_id: str) -> bool:
    _clear(db, run_id, list(retention.tables_of_runs()))
    with db.write() as session:
        return retention.forget(session, run_id, before)


def _drop(db: Database, run_id: str) -> None:
    _clear(db, run_id, [Batch, Segment])
    with db.write() as session:
        retention.keep(session, run_id, retention.NONE)


def _thin(db: Database, run_id: str) -> None:
    compact_run(db, run_id)
    while True:
        with db.read() as session:
            longer = retention.longer_series(session, run_id, retention.THINNED_TO, SERIES_A_LOOK)
        for metric, writer in longer:
            with db.write() as session:
                retention.thin_series(session, run_id, metric, writer)
        if len(longer) < SERIES_A_LOOK:
            break
    with db.write() as session:
        retention.keep(session, run_id, retention.THINNED)


def _clear(db: Database, run_id: str, tables: list[type[Table]]) -> None:
    for table in tables:
        removed = retention.ROWS_AT_ONCE
        while removed == retention.ROWS_AT_ONCE:
            with db.write() as session:
                removed = retention.drop_some(session, run_id, table)
