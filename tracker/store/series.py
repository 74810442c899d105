"""Series: all points of one metric of one run, kept as columns.

A writer's points of a metric are cut into segments of at most `SEGMENT_POINTS` points. A segment holds three columns,
each little-endian and zlib-compressed: steps and times (microseconds since 1970) as int64 differences from one point to
the next, values as float64, exact, NaN and infinities included. New points go to the last segment until it is full.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.orm import Session

from tracker.errors import NotFound
from tracker.store.tables import Segment, Summary, Writer

SEGMENT_POINTS = 8192

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Points:
    """Points of one metric from one writer, in the order written: steps, times in microseconds since 1970, values."""

    steps: Ints
    times_us: Ints
    values: Floats

    @classmethod
    def of(cls, steps: Sequence[int], times_us: Sequence[int], values: Sequence[float]) -> Points:
        """Make columns of lists."""
        return cls(np.array(steps, np.int64), np.array(times_us, np.int64), np.array(values, np.float64))

    @classmethod
    def joined(cls, pieces: Sequence[Points]) -> Points:
        """Put pieces one after the other."""
        steps = np.concatenate([one.steps for one in pieces])
        times_us = np.concatenate([one.times_us for one in pieces])
        return cls(steps, times_us, np.concatenate([one.values for one in pieces]))

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, which: slice | Ints) -> Points:
        return Points(self.steps[which], self.times_us[which], self.values[which])


@dataclass(frozen=True)
class Series:
    """A series for a chart: `x` ascending (steps, or seconds since 1970) and `y`.

    `count` points exist; fewer are here if `downsampled`.
    """

    x: list[float]
    y: list[float]
    count: int
    downsampled: bool


def append(session: Session, run_id: str, writer: str, metric: str, points: Points) -> None:
    """Put points to the end of a writer's series of a metric, and into the summary."""
    key = (Segment.run_id == run_id, Segment.metric == metric, Segment.writer == writer)
    last = session.scalar(select(Segment).where(*key).order_by(Segment.number.desc()).limit(1))
    number = 0 if last is None else last.number
    if last is not None and last.count < SEGMENT_POINTS:
        points = Points.joined([_decode(last), points])
        fresh = len(points) - last.count
    else:
        fresh, number = len(points), number + (last is not None)
    for start in range(0, len(points), SEGMENT_POINTS):
        session.merge(_encode(run_id, metric, writer, number, points[start : start + SEGMENT_POINTS]))
        number += 1
    _summarize(session, run_id, metric, points[len(points) - fresh :])


def _encode(run_id: str, metric: str, writer: str, number: int, points: Points) -> Segment:
    return Segment(
        run_id=run_id, metric=metric, writer=writer, number=number, count=len(points),
        steps=_pack_ints(points.steps), times=_pack_ints(points.times_us),
        values=zlib.compress(points.values.astype("<f8").tobytes(), 1),
    )  # fmt: skip


def _decode(segment: Segment) -> Points:
    values = np.frombuffer(zlib.decompress(segment.values), "<f8")
    return Points(_unpack_ints(segment.steps), _unpack_ints(segment.times), values)


def _pack_ints(column: Ints) -> bytes:
    return zlib.compress(np.diff(column, prepend=np.int64(0)).astype("<i8").tobytes(), 1)


def _unpack_ints(packed: bytes) -> Ints:
    return np.cumsum(np.frombuffer(zlib.decompress(packed), "<i8"), dtype=np.int64)


def _summarize(session: Session, run_id: str, metric: str, fresh: Points) -> None:
    finite = fresh.values[np.isfinite(fresh.values)]
    known = session.get(Summary, (run_id, metric))
    if known is None:
        known = Summary(run_id=run_id, metric=metric, total=0.0, finite_count=0, count=0, min=None, max=None)
        session.add(known)
    last = float(fresh.values[-1])
    known.last = None if np.isnan(last) else last
    known.last_step = int(fresh.steps[-1])
    known.last_at = datetime.fromtimestamp(int(fresh.times_us[-1]) / 1_000_000, tz=timezone.utc)
    known.count += len(fresh)
    if len(finite):
        known.min = float(finite.min()) if known.min is None else min(known.min, float(finite.min()))
        known.max = float(finite.max()) if known.max is None else max(known.max, float(finite.max()))
        known.total += float(finite.sum())
        known.finite_count += len(finite)


def load(session: Session, run_id: str, metric: str, rank: int = 0) -> Points:
    """All points of a metric logged by a rank, by step, those of equal steps by time. Raises NotFound."""
    query = (
        select(Segment)
        .outerjoin(Writer, (Writer.run_id == Segment.run_id) & (Writer.name == Segment.writer))
        .where(Segment.run_id == run_id, Segment.metric == metric)
        .where((Writer.rank == rank) | (Writer.rank.is_(None)))
        .order_by(Segment.writer, Segment.number)
    )
    pieces = [_decode(segment) for segment in session.scalars(query)]
    if not pieces:
        raise NotFound(f"Rank {rank} of this run has not logged a metric `{metric[:80]}`.")
    points = Points.joined(pieces)
    return points[np.lexsort((points.times_us, points.steps))]


def read(
    session: Session, run_id: str, metric: str, *, x: str = "step", max_points: int = 1000, rank: int = 0
) -> Series:
    """A metric for a chart over `step` or `time` (seconds since 1970): at most `max_points` points, extremes kept.

    Raises NotFound.
    """
    points = load(session, run_id, metric, rank)
    if x == "time":
        points = points[np.argsort(points.times_us, kind="stable")]
    axis = points.times_us / 1e6 if x == "time" else points.steps
    chosen = _thin(points.values, max_points)
    return Series(axis[chosen].tolist(), points.values[chosen].tolist(), len(points), len(chosen) < len(points))


def _thin(values: Floats, max_points: int) -> Ints:
    """Places of at most `max_points` values: first, last, and the least and greatest of equal buckets between them."""
    count = len(values)
    if count <= max_points:
        return np.arange(count)
    buckets = max((max_points - 2) // 2, 1)
    edges = np.linspace(1, count - 1, buckets + 1).astype(np.int64)
    chosen = {0, count - 1}
    for start, end in zip(edges[:-1], edges[1:], strict=True):
        piece = values[start:end]
        if np.isnan(piece).all():
            chosen.add(int(start))
        else:
            chosen.update((int(start + np.nanargmin(piece)), int(start + np.nanargmax(piece))))
    return np.array(sorted(chosen))
