"""GPU-hours in a window: of the GPUs that are known as intervals, and of those that Slurm only counted.

As sacct counts: `AllocTRES` gres/gpu times `Elapsed`, which leaves out the time in which a job was suspended; that is
told beside it, for a suspended job holds its GPUs (slurm.schedmd.com/gres.html).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, NamedTuple

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Select,
    and_,
    case,
    exists,
    false,
    func,
    literal,
    not_,
    or_,
    select,
    type_coerce,
)
from sqlalchemy.orm import Session

from tracker.store.among import among
from tracker.store.gpus import ENDED_AT, overlaps
from tracker.store.identity import Identity
from tracker.store.runs import visible_to
from tracker.store.tables import Attempt, Experiment, Gpu, Run, Suspension

By = Literal["user", "account", "experiment", "state"]
_US_AN_HOUR = 3_600_000_000
_KEYS: dict[By, Any] = {
    "user": Run.user, "account": Run.account, "experiment": Experiment.name, "state": Attempt.state,
}  # fmt: skip
IS_SHARED = and_(Attempt.shards > 0, func.coalesce(Attempt.gpu_count, 0) == 0)
"""The attempt held shares of the GPUs of which hooks told: a Prolog does not tell those from whole ones."""
_ENDED_AT = func.coalesce(Attempt.ended_at, Run.ended_at)
_OF_THESE = among(Suspension.__table__.c.run_id, "ids")
_SLACK_US = 2_000_000
"""A suspension that began so much before an attempt was one of the attempt before it."""
Interval = tuple[int, int]
"""From when to when, in microseconds since 1970."""


@dataclass
class Hours:
    """What the attempts of a key come to; `shard_hours` are of shares of GPUs, which Slurm does not count as GPUs."""

    key: str | None
    gpu_hours: float = 0.0
    suspended_gpu_hours: float = 0.0
    shard_hours: float = 0.0
    attempts: int = 0


class Window(NamedTuple):
    """From when to when; `now` stands for the end of what has none."""

    since: datetime
    until: datetime
    now: datetime

    @property
    def microseconds(self) -> tuple[int, int, int]:
        """The same, since 1970."""
        since, until, now = (round(one.timestamp() * 1e6) for one in self)
        return since, until, now


def read(session: Session, viewer: Identity, by: By, window: Window) -> list[Hours]:
    """GPU-hours of all runs that may be seen, by what they have in common, the most first."""
    found: dict[str | None, Hours] = {}
    for key, held_us, shards_us, count in session.execute(_held(viewer, by, window)):
        hours = found.setdefault(key, Hours(key))
        hours.gpu_hours += int(held_us) / _US_AN_HOUR
        hours.shard_hours += int(shards_us) / _US_AN_HOUR
        hours.attempts += count
    for key, count, paused_us in _paused(session, viewer, by, window):
        hours = found.setdefault(key, Hours(key))
        hours.gpu_hours -= count * paused_us / _US_AN_HOUR
        hours.suspended_gpu_hours += count * paused_us / _US_AN_HOUR
    return sorted(found.values(), key=lambda one: (-one.gpu_hours - one.shard_hours, one.key or ""))


def _of_attempts(viewer: Identity, window: Window, *columns: Any) -> Select[Any]:
    """Something of the attempts that may be seen and have a part in the window."""
    query = select(*columns).select_from(Attempt).join(Run, Run.id == Attempt.run_id)
    query = query.join(Experiment, Experiment.id == Run.experiment_id)
    inside = overlaps(Attempt.started_at, _ENDED_AT, window.since, window.until)
    return query.where(visible_to(viewer), Attempt.started_at.is_not(None), *inside)


def _held(viewer: Identity, by: By, window: Window) -> Select[Any]:
    """By key: microseconds of GPUs, of shards, and how many attempts there are.

    An attempt has the GPUs that are known, each for its own time, and of those that Slurm counted beyond them we know
    only that it had them as long as its allocation.
    """
    mine = and_(Gpu.run_id == Attempt.run_id, Gpu.attempt == Attempt.number)
    held, count = (
        select(func.coalesce(func.sum(figure), 0)).where(mine).correlate(Attempt, Run).scalar_subquery()
        for figure in (_inside(Gpu.started_at, ENDED_AT, window), literal(1, BigInteger))
    )
    whole_time = _inside(Attempt.started_at, _ENDED_AT, window)
    unknown = func.coalesce(Attempt.gpu_count, 0) - count
    whole = case((IS_SHARED, 0), (unknown > 0, held + unknown * whole_time), else_=held)
    shared = case((IS_SHARED, Attempt.shards * whole_time), else_=0)
    each = _of_attempts(viewer, window, _KEYS[by].label("key"), whole.label("held"), shared.label("shared"))
    each = each.where(or_(Attempt.gpu_count > 0, Attempt.shards > 0, exists().where(mine)))
    one = each.subquery()
    columns = (one.c.key, func.sum(one.c.held), func.sum(one.c.shared), func.count())
    return select(*columns).group_by(one.c.key)


def _paused(session: Session, viewer: Identity, by: By, window: Window) -> Iterator[tuple[str | None, int, float]]:
    """Of attempts with GPUs that were suspended: the key, how many, and for how many microseconds in the window."""
    mine = and_(Gpu.run_id == Attempt.run_id, Gpu.attempt == Attempt.number)
    known = select(func.count()).where(mine).correlate(Attempt).scalar_subquery()
    has_gpus = or_(Attempt.gpu_count > 0, and_(not_(func.coalesce(IS_SHARED, false())), exists().where(mine)))
    was_paused = or_(Attempt.suspended_s > 0, exists().where(Suspension.run_id == Attempt.run_id))
    columns = (Attempt.run_id, _KEYS[by], Attempt.started_at, _ENDED_AT, Attempt.suspended_s, Attempt.gpu_count, known)
    found = session.execute(_of_attempts(viewer, window, *columns).where(was_paused, has_gpus)).all()
    seen: dict[str, list[tuple[datetime, datetime | None]]] = {}
    pauses = select(Suspension.run_id, Suspension.started_at, Suspension.ended_at).where(_OF_THESE)
    for run_id, paused_at, resumed_at in session.execute(pauses, {"ids": {row[0] for row in found}}) if found else ():
        seen.setdefault(run_id, []).append((paused_at, resumed_at))
    for run_id, key, started_at, ended_us, told_s, counted, held in found:
        whole = _us(started_at), window.microseconds[2] if ended_us is None else _us(ended_us)
        mine_us = [(_us(one), whole[1] if other is None else _us(other)) for one, other in seen.get(run_id, ())]
        told_us = None if told_s is None else told_s * 1_000_000
        yield key, max(held, counted or 0), _suspended_us(whole, mine_us, told_us, ended_us is not None, window)


def _suspended_us(
    whole: Interval, seen: Sequence[Interval], told_us: int | None, is_over: bool, window: Window
) -> float:
    """How long of its part in the window an attempt was suspended.

    Suspensions that were seen are brought to what accounting tells of all of them, which is final when the attempt is
    over: what it tells beyond them is spread evenly over the rest of the attempt.
    """
    since, until, now = window.microseconds
    asked = since, min(until, now)
    all_us, inside_us = whole[1] - whole[0], _common(*whole, *asked)
    parts = [(max(one, whole[0]), min(other, whole[1])) for one, other in seen if one > whole[0] - _SLACK_US]
    seen_us = sum(max(other - one, 0) for one, other in parts)
    seen_inside_us = sum(_common(*part, *asked) for part in parts)
    if told_us is None or (told_us < seen_us and not is_over):
        return seen_inside_us
    if told_us < seen_us:
        return seen_inside_us * told_us / seen_us
    unseen_us = min(told_us, all_us) - seen_us
    return seen_inside_us + (unseen_us * (inside_us - seen_inside_us) / (all_us - seen_us) if unseen_us > 0 else 0)


def _us(at: datetime | int) -> int:
    return round(at.timestamp() * 1e6) if isinstance(at, datetime) else at


def _common(one: int, other: int, since: int, until: int) -> int:
    return max(min(other, until) - max(one, since), 0)


def _inside(started_at: Any, ended_at: Any, window: Window) -> ColumnElement[int]:
    """Microseconds of an interval that are in the window."""
    since, until, now = window.microseconds
    start = type_coerce(started_at, BigInteger)
    end = func.coalesce(type_coerce(ended_at, BigInteger), now)
    last = min(until, now)
    first_in = case((start > since, start), else_=literal(since, BigInteger))
    last_in = case((end < last, end), else_=literal(last, BigInteger))
    return case((last_in > first_in, last_in - first_in), else_=literal(0, BigInteger))


def total(found: Iterable[Hours]) -> Hours:
    """All of them together."""
    every = Hours(None)
    for one in found:
        every.gpu_hours += one.gpu_hours
        every.suspended_gpu_hours += one.suspended_gpu_hours
        every.shard_hours += one.shard_hours
        every.attempts += one.attempts
    return every
