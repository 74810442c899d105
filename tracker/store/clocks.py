"""Clocks: how far those of nodes are behind the server's."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session

from tracker.store.among import among
from tracker.store.tables import Clock

RIGHT_WITHIN = timedelta(seconds=2)
"""A clock is left alone that is no further off: the way of a request takes time, too."""
STEADY_WITHIN = timedelta(seconds=1)
LONGEST_WAY = timedelta(seconds=90)
"""A request takes no longer (see agent/server.py): what is more is the clock's."""
NOTED_EVERY = timedelta(seconds=10)
"""How often it is written down that a clock is still as it was: each request would be a row changed."""
SETTLES_AFTER = timedelta(seconds=60)


class Measured(NamedTuple):
    """By how much the server's time at `now` was later than what a request of this node told."""

    cluster: str
    node: str
    late: timedelta
    now: datetime


_OF_NODES = select(Clock).where(among(Clock.__table__.c.cluster, "clusters"), among(Clock.__table__.c.node, "nodes"))


def behind(session: Session, measured: Sequence[Measured | None]) -> list[timedelta | None]:
    """How far each node's clock is behind, given new measurements. Nothing where nothing was measured.

    An answer stays the same as long as measurements are less than a second from it. A slow request looks like a clock
    that is behind, never like one that is ahead: a greater value must have lasted for a minute, or be beyond what a
    request may take.
    """
    told = [one for one in measured if one is not None]
    if not told:
        return [None] * len(measured)
    asked = {"clusters": list({one.cluster for one in told}), "nodes": list({one.node for one in told})}
    known = {(clock.cluster, clock.node): clock for clock in session.scalars(_OF_NODES, asked)}
    return [None if one is None else _behind(session, known, one) for one in measured]


def _behind(session: Session, clocks: dict[tuple[str, str], Clock], one: Measured) -> timedelta:
    measured, now = one.late, one.now
    clock = clocks.get((one.cluster, one.node))
    if clock is None:
        clock = clocks[one.cluster, one.node] = Clock(cluster=one.cluster, node=one.node, skew_us=0, measured_at=now)
        session.add(clock)
    known = timedelta(microseconds=clock.skew_us)
    is_late = timedelta(0) < measured - known < LONGEST_WAY and now < clock.measured_at + SETTLES_AFTER
    if abs(measured - known) <= STEADY_WITHIN:
        if now - clock.measured_at > NOTED_EVERY:
            clock.measured_at = now
    elif not is_late:
        known = measured if abs(measured) >= RIGHT_WITHIN else timedelta(0)
        clock.skew_us, clock.measured_at = known // timedelta(microseconds=1), now
    return known


def wrong(session: Session) -> dict[tuple[str, str], timedelta]:
    """By cluster and node how far clocks are behind (negative: ahead) that are not right."""
    found = session.scalars(select(Clock).where(Clock.skew_us != 0))
    return {(clock.cluster, clock.node): timedelta(microseconds=clock.skew_us) for clock in found}
