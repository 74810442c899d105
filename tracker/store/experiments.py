"""Experiments: named groups of runs."""

from __future__ import annotations

import base64
import json
import uuid
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import BigInteger, ColumnElement, Select, and_, exists, func, or_, select, type_coerce, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from tracker.errors import BadInput, Conflict, Forbidden, NotFound
from tracker.states import LIVE_STATES
from tracker.store.identity import Identity
from tracker.store.runs import visible_to
from tracker.store.tables import Experiment, Run

DEFAULT = "default"
"""The experiment of runs that name none."""
MOST_AT_ONCE = 500
_UNSEEN = {"synchronize_session": False}


@dataclass(frozen=True)
class ExperimentSummary:
    """An experiment with what may be seen of it."""

    id: str
    name: str
    created_at: datetime
    run_count: int
    last_run_at: datetime | None
    thin_points_after_days: int | None
    drop_points_after_days: int | None


@dataclass(frozen=True)
class ExperimentPage:
    """Some experiments, and where the next page begins; None on the last."""

    items: list[ExperimentSummary]
    next_cursor: str | None


def named(session: Session, name: str, now: datetime) -> Experiment:
    """The experiment of this name, made if there is none."""
    return _of_name(session, name) or _made(session, name, now)


def _of_name(session: Session, name: str) -> Experiment | None:
    return session.scalar(select(Experiment).where(Experiment.name == name))


def _made(session: Session, name: str, now: datetime) -> Experiment:
    is_postgresql = session.get_bind().dialect.name == "postgresql"
    if is_postgresql:  # two that name new experiments in opposite orders would wait for each other
        session.execute(select(func.pg_advisory_xact_lock(func.hashtext("tracker experiments"))))
    insert = postgresql.insert if is_postgresql else sqlite.insert
    row = insert(Experiment).values(id=str(uuid.uuid4()), name=name, created_at=now)
    session.execute(row.on_conflict_do_nothing())  # a thousand array tasks may name a new experiment at once
    return session.scalars(select(Experiment).where(Experiment.name == name)).one()


def find(session: Session, viewer: Identity, *, limit: int = MOST_AT_ONCE, cursor: str | None = None) -> ExperimentPage:
    """Experiments in which the viewer may see a run or which they made, the one with the newest run first.

    One without runs is as new as itself. Raises BadInput for a cursor that is not ours.
    """
    query, newest = _seen_by(viewer)
    if cursor:
        at_us, last_id = _read(cursor)
        newest_us = type_coerce(newest, BigInteger)
        query = query.having(or_(newest_us < at_us, and_(newest_us == at_us, Experiment.id < last_id)))
    rows = session.execute(query.order_by(newest.desc(), Experiment.id.desc()).limit(limit + 1)).all()
    items = [_summary(*row) for row in rows[:limit]]
    return ExperimentPage(items, _cursor_at(items[-1]) if len(rows) > limit else None)


def get(session: Session, viewer: Identity, ident: str) -> ExperimentSummary:
    """One experiment by its id. Raises NotFound."""
    query, _ = _seen_by(viewer)
    row = session.execute(query.where(Experiment.id == ident)).one_or_none()
    if row is None:
        raise NotFound(f"There is no experiment `{ident[:80]}` that you may see.")
    return _summary(*row)


def add(session: Session, viewer: Identity, name: str, now: datetime) -> str:
    """Make an experiment; answer its id. Raises Conflict when the viewer sees one of this name, or another made it."""
    experiment = named(session, name, now)
    query, _ = _seen_by(viewer)
    seen = session.execute(query.where(Experiment.id == experiment.id)).one_or_none()
    if seen or (experiment.user and experiment.user != viewer.user):
        raise Conflict(f"There is an experiment `{name[:80]}` already.")
    experiment.user, experiment.created_at = viewer.user, now
    return experiment.id


def rename(session: Session, viewer: Identity, ident: str, name: str) -> None:
    """Give an experiment another name.

    Raises NotFound, Forbidden when runs of others are in it, Conflict when the name is taken.
    """
    experiment = _own(session, viewer, ident)
    if name == experiment.name:
        return
    taken = exists().where(Experiment.name == name)
    renamed = update(Experiment).where(Experiment.id == experiment.id, ~taken).values(name=name)
    try:
        with session.begin_nested():
            done = session.execute(renamed.execution_options(synchronize_session=False)).rowcount  # type: ignore[attr-defined]
    except IntegrityError:  # somebody took it in this moment
        done = 0
    if not done:
        raise Conflict(f"There is an experiment `{name[:80]}` already.")


def remove(session: Session, viewer: Identity, ident: str, now: datetime) -> None:
    """Delete an experiment and its runs, as `runs.remove` does. It is there again when a new run names it.

    Raises NotFound, Forbidden when runs of others are in it, Conflict when runs of it have not ended.
    """
    experiment = _own(session, viewer, ident)
    mine = and_(Run.experiment_id == experiment.id, visible_to(viewer))
    ids = session.scalars(select(Run.id).where(mine).order_by(Run.id).with_for_update(of=Run)).all()
    live = session.scalar(select(func.count()).where(mine, Run.state.in_(LIVE_STATES)))
    if live:
        raise Conflict(f"{live} of its runs wait or run; it can be deleted when they have ended.")
    if ids:
        session.execute(update(Run).where(mine).values(deleted_at=now, updated_at=now), execution_options=_UNSEEN)
    experiment.user = None


def _own(session: Session, viewer: Identity, ident: str) -> Experiment:
    """The experiment, locked, if the viewer may change it. Raises NotFound, Forbidden."""
    get(session, viewer, ident)
    query = select(Experiment).where(Experiment.id == ident).with_for_update(key_share=True)
    experiment = session.scalars(query.execution_options(populate_existing=True)).one()
    if not viewer.sees_all:
        others = and_(Run.deleted_at.is_(None), or_(Run.user.is_(None), Run.user != viewer.user))
        if session.scalar(select(exists().where(Run.experiment_id == ident, others))):
            raise Forbidden("Runs of other users are in this experiment, too; you may move or delete your own runs.")
    return experiment


def _seen_by(viewer: Identity) -> tuple[Select[Experiment, int, datetime], ColumnElement[datetime]]:
    """The experiments that the viewer sees, and how new each is."""
    newest = func.coalesce(func.max(Run.created_at), Experiment.created_at)
    made = Experiment.user.is_not(None) if viewer.sees_all else Experiment.user == viewer.user
    seen = func.count(Run.id) > 0
    query = (
        select(Experiment, func.count(Run.id), func.max(Run.created_at))
        .outerjoin(Run, and_(Run.experiment_id == Experiment.id, visible_to(viewer)))
        .group_by(Experiment.id)
        .having(or_(seen, made) if viewer.sees_own else seen)
    )
    return query, newest


def _summary(one: Experiment, count: int, last: datetime | None) -> ExperimentSummary:
    return ExperimentSummary(
        one.id, one.name, one.created_at, count, last, one.thin_after_days, one.drop_points_after_days
    )


def _cursor_at(last: ExperimentSummary) -> str:
    raw = json.dumps([round((last.last_run_at or last.created_at).timestamp() * 1e6), last.id])
    return base64.urlsafe_b64encode(raw.encode()).decode().rstrip("=")


def _read(cursor: str) -> tuple[int, str]:
    try:
        at_us, ident = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        if type(at_us) is int and abs(at_us) < 2**63 and isinstance(ident, str) and "\0" not in ident:
            ident.encode()  # half a character is none
            return at_us, ident
    except (ValueError, TypeError, RecursionError):
        pass
    raise BadInput("This cursor is not one of ours; start again without `cursor`.")
