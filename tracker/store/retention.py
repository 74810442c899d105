"""Retention: which runs are deleted for good, whose points go, and the removal in small pieces.

Points are thinned, and later dropped, so many days after the end of their run: as its experiment says or, where that
says nothing, as the settings do; 0 days is never. Summaries, which count all points there ever were, stay as they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Select, delete, func, select, tuple_, type_coerce, update
from sqlalchemy.orm import InstrumentedAttribute, Session

from tracker.errors import BadInput, NotFound
from tracker.settings import MOST_DAYS
from tracker.states import FINAL_STATES
from tracker.store import segments
from tracker.store.tables import Batch, Experiment, Run, Segment, Summary, Table

ALL, THINNED, NONE = "all", "thinned", "none"
"""Which of the points that its summaries count are kept of a run."""
THINNED_TO = 1000
"""Points that stay of each writer's series: as many as a chart shows."""
ROWS_AT_ONCE = 500
"""Rows that one transaction removes."""
_DAY_US = 86_400_000_000
_UNSEEN = {"synchronize_session": False}


@dataclass(frozen=True)
class Rule:
    """How long points of an experiment are kept, in days from the end of their run; None: as the settings say."""

    experiment: str
    thin_points_after_days: int | None
    drop_points_after_days: int | None


def rules(session: Session) -> list[Rule]:
    """The experiments that say something else than the settings, by name."""
    own = Experiment.thin_after_days.is_not(None) | Experiment.drop_points_after_days.is_not(None)
    query = select(Experiment.name, Experiment.thin_after_days, Experiment.drop_points_after_days).where(own)
    return [Rule(*row) for row in session.execute(query.order_by(Experiment.name))]


def set_rule(session: Session, rule: Rule) -> None:
    """Say how long points of an experiment are kept. Raises NotFound, BadInput."""
    experiment = session.scalar(select(Experiment).where(Experiment.name == rule.experiment))
    if experiment is None:
        raise NotFound(f"There is no experiment `{rule.experiment[:80]}`.")
    set_days(session, experiment.id, thin=rule.thin_points_after_days, drop=rule.drop_points_after_days)


def set_days(session: Session, experiment_id: str, **days: int | None) -> None:
    """Say of an experiment after how many days its runs are thinned (`thin`) and dropped (`drop`).

    What is not named stays. Raises BadInput for less than no days, or more than MOST_DAYS.
    """
    if any(count is not None and not 0 <= count <= MOST_DAYS for count in days.values()):
        raise BadInput(f"Points are kept for 1 to {MOST_DAYS:,} days from the end of their run, or for ever: 0.")
    columns = {"thin": Experiment.thin_after_days, "drop": Experiment.drop_points_after_days}
    values = {columns[name]: count for name, count in days.items()}
    session.execute(update(Experiment).where(Experiment.id == experiment_id).values(values), execution_options=_UNSEEN)


def deleted(session: Session, before: datetime, limit: int, after: str = "") -> list[str]:
    """Runs that were deleted before that moment and are over, by id; those after `after`."""
    gone = (Run.deleted_at < before, Run.state.in_(FINAL_STATES), Run.accounting_due.is_(False))
    return list(session.scalars(select(Run.id).where(*gone, Run.id > after).order_by(Run.id).limit(limit)))


def to_thin(session: Session, days: Rule, now: datetime, limit: int, after: str = "") -> list[str]:
    """Runs that have all their points and whose time to be thinned has come, by id; those after `after`.

    `days` are those of experiments that say nothing themselves. What is to be dropped is not thinned before.
    """
    ripe = _ripe(Experiment.thin_after_days, days.thin_points_after_days, now)
    over = _ripe(Experiment.drop_points_after_days, days.drop_points_after_days, now)
    return list(session.scalars(_page(limit, after).where(ripe, ~over, Run.points_kept == ALL)))


def to_drop(session: Session, days: Rule, now: datetime, limit: int, after: str = "") -> list[str]:
    """Runs that have points whose time to be dropped has come, by id; those after `after`."""
    ripe = _ripe(Experiment.drop_points_after_days, days.drop_points_after_days, now)
    return list(session.scalars(_page(limit, after).where(ripe, Run.points_kept != NONE)))


def _page(limit: int, after: str) -> Select[str]:
    over = (Run.state.in_(FINAL_STATES), Run.deleted_at.is_(None))
    query = select(Run.id).join(Experiment).where(*over, Run.id > after)
    return query.order_by(Run.id).limit(limit)


def _ripe(own_days: InstrumentedAttribute[int | None], default_days: int | None, now: datetime) -> ColumnElement[bool]:
    days = func.coalesce(own_days, default_days or 0)
    now_us = round(now.timestamp() * 1_000_000)
    return (days > 0) & (type_coerce(Run.ended_at, BigInteger) < now_us - days * _DAY_US)


def points_of(session: Session, run_ids: Sequence[str]) -> int:
    """How many points the summaries of these runs count."""
    total = select(func.sum(Summary.count)).where(Summary.run_id.in_(run_ids))
    return int(session.scalar(total) or 0)  # PostgreSQL adds up to a Decimal


def drop_some(session: Session, run_id: str, table: type[Table]) -> int:
    """Remove some rows of a run from a table, at most ROWS_AT_ONCE; the answer is how many there were."""
    key: list[Any] = [getattr(table, column.key) for column in table.__table__.primary_key]
    some = select(*key).where(table.run_id == run_id).limit(ROWS_AT_ONCE)  # type: ignore[attr-defined]
    gone = session.execute(delete(table).where(tuple_(*key).in_(some)), execution_options=_UNSEEN)
    return int(gone.rowcount)  # type: ignore[attr-defined]


def longer_series(session: Session, run_id: str, most: int, limit: int) -> list[tuple[str, str]]:
    """Metric and writer of series of a run that have more than so many points, which segments keep."""
    query = select(Segment.metric, Segment.writer).where(Segment.run_id == run_id)
    longer = query.group_by(Segment.metric, Segment.writer).having(func.sum(Segment.count) > most)
    return [(metric, writer) for metric, writer in session.execute(longer.limit(limit))]


def thin_series(session: Session, run_id: str, metric: str, writer: str) -> None:
    """Keep THINNED_TO points of a series; the run is locked, so that whoever else works on it comes before or after."""
    session.execute(select(Run.id).where(Run.id == run_id).with_for_update())
    segments.thin(session, run_id, metric, writer, THINNED_TO)


def tables_of_runs() -> Iterator[type[Table]]:
    """The tables whose rows belong to a run, those first that hold most."""
    named = {mapper.class_ for mapper in Table.registry.mappers if "run_id" in mapper.local_table.c}
    yield Batch
    yield Segment
    yield from sorted(named - {Batch, Segment}, key=lambda table: str(table.__tablename__))


def keep(session: Session, run_id: str, kept: str) -> None:
    """Note which points of a run are kept."""
    session.execute(update(Run).where(Run.id == run_id).values(points_kept=kept), execution_options=_UNSEEN)


def forget(session: Session, run_id: str, before: datetime) -> bool:
    """Remove a run that was deleted before that moment, with what it still has; False if it is not deleted any more."""
    mine = (Run.id == run_id, Run.deleted_at < before)
    session.execute(update(Run).where(Run.parent_id == run_id).values(parent_id=None), execution_options=_UNSEEN)
    gone = session.execute(delete(Run).where(*mine), execution_options=_UNSEEN)
    return bool(gone.rowcount)  # type: ignore[attr-defined]


def days_ago(now: datetime, days: int) -> datetime:
    """The moment so many days before now."""
    return now - timedelta(days=days)
