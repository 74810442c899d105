"""Clocks: how far those of nodes are behind the server's."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from typing import NamedTuple

from sqlalchemy import Connection, select
from sqlalchemy.orm import Session

from tracker.store.among import among
from tracker.store.planned import ONCE
from tracker.store.tables import Clock
from tracker.store.upsert import as_array

RIGHT_WITHIN = timedelta(seconds=2)
"""A clock is left alone that is no further off: the way of a request takes time, too."""
STEADY_WITHIN = timedelta(seconds=1)
LONGEST_WAY = timedelta(seconds=90)
"""A request takes no longer (see agent/server.py): what is more is the clock's."""
NOTED_EVERY = timedelta(seconds=10)
"""How often it is written down that a clock is still as it was: each request would be a row changed."""
SETTLES_AFTER = timedelta(seconds=60)
_US = timedelta(microseconds=1)


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
    if abs(measured - known) <= STEADY_WITHIN:
        if now - clock.measured_at > NOTED_EVERY:
            clock.measured_at = now
    elif not _is_late(known, clock.measured_at, one):
        known = measured if abs(measured) >= RIGHT_WITHIN else timedelta(0)
        clock.skew_us, clock.measured_at = known // timedelta(microseconds=1), now
    return known


def _is_late(known: timedelta, measured_at: datetime, one: Measured) -> bool:
    """Whether that may be the request's way, not the clock."""
    return timedelta(0) < one.late - known < LONGEST_WAY and one.now < measured_at + SETTLES_AFTER


_STEADY = """
WITH noted AS (
    UPDATE clocks SET measured_at = one.now
    FROM unnest(%(clusters)s::text[], %(nodes)s::text[], %(late_us)s::int8[], %(now_us)s::int8[])
        AS one(cluster, node, late_us, now)
    WHERE clocks.cluster = one.cluster AND clocks.node = one.node AND abs(one.late_us - clocks.skew_us) <= %(steady)s
        AND one.now - clocks.measured_at > %(noted)s
)
SELECT clocks.cluster, clocks.node, clocks.skew_us, clocks.measured_at
FROM unnest(%(clusters)s::text[], %(nodes)s::text[]) AS one(cluster, node)
JOIN clocks ON clocks.cluster = one.cluster AND clocks.node = one.node
"""


def steady(connection: Connection, measured: Sequence[Measured | None]) -> list[timedelta | None]:
    """The same where it stays as it was; None where `behind` must decide. On PostgreSQL, by one statement."""
    told = sorted(one for one in measured if one is not None)  # two servers change them in one order
    if not told:
        return [timedelta(0)] * len(measured)
    asked = {
        "clusters": as_array([one.cluster for one in told]),
        "nodes": as_array([one.node for one in told]),
        "late_us": as_array([one.late // _US for one in told]),
        "now_us": as_array([round(one.now.timestamp() * 1_000_000) for one in told]),
        "steady": STEADY_WITHIN // _US,
        "noted": NOTED_EVERY // _US,
    }
    rows = connection.exec_driver_sql(_STEADY, asked, execution_options=ONCE)
    known = {(cluster, node): (skew_us * _US, measured_us) for cluster, node, skew_us, measured_us in rows}
    return [timedelta(0) if one is None else _if_steady(known, one) for one in measured]


def _if_steady(clocks: dict[tuple[str, str], tuple[timedelta, int]], one: Measured) -> timedelta | None:
    known, measured_us = clocks.get((one.cluster, one.node), (None, 0))
    if known is None:
        return None
    measured_at = datetime.fromtimestamp(measured_us / 1_000_000, tz=timezone.utc)
    return known if abs(one.late - known) <= STEADY_WITHIN or _is_late(known, measured_at, one) else None


def wrong(session: Session) -> dict[tuple[str, str], timedelta]:
    """By cluster and node how far clocks are behind (negative: ahead) that are not right."""
    found = session.scalars(select(Clock).where(Clock.skew_us != 0))
    return {(clock.cluster, clock.node): timedelta(microseconds=clock.skew_us) for clock in found}
