"""Series: all points of one metric of one run, kept as columns.

A writer's points of a metric are cut into segments of at most `SEGMENT_POINTS` points. A segment holds three columns,
each little-endian and zlib-compressed: steps and times (microseconds since 1970) as int64 differences from one point to
the next, values as float64, exact, NaN and infinities included. New points go to the last segment until it is full.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import func, select, tuple_
from sqlalchemy.orm import Session

from tracker.errors import NotFound
from tracker.store.tables import Segment, Summary, Writer

SEGMENT_POINTS = 8192
MOST_METRICS = 2000
"""Metrics of one run: as much as people can look at, and little enough that no user's run makes others wait."""

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


def append(session: Session, run_id: str, writer: str, columns: Mapping[str, Points]) -> list[str]:
    """Put points of metrics to the end of a writer's series, and into the summaries.

    A run has at most MOST_METRICS metrics; the answer names those that were one too many and are not kept.
    """
    if not columns:
        return []
    chosen = select(Summary).where(Summary.run_id == run_id, Summary.metric.in_(list(columns)))
    known = {summary.metric: summary for summary in session.scalars(chosen)}
    fresh = [metric for metric in columns if metric not in known]
    have = session.scalar(select(func.count()).where(Summary.run_id == run_id)) if fresh else 0
    last = _last_segments(session, run_id, writer, list(columns))
    too_many = fresh[max(MOST_METRICS - (have or 0), 0) :]
    for metric in fresh[: len(fresh) - len(too_many)]:
        known[metric] = Summary(run_id=run_id, metric=metric, total=0.0, finite_count=0, count=0, min=None, max=None)
        session.add(known[metric])
    for metric, summary in known.items():
        _extend(session, run_id, metric, writer, last.get(metric), columns[metric])
        _summarize(summary, columns[metric])
    return too_many


def _last_segments(session: Session, run_id: str, writer: str, metrics: list[str]) -> dict[str, Segment]:
    mine = (Segment.run_id == run_id, Segment.writer == writer, Segment.metric.in_(metrics))
    newest = select(Segment.metric, func.max(Segment.number)).where(*mine).group_by(Segment.metric)
    query = select(Segment).where(*mine, tuple_(Segment.metric, Segment.number).in_(newest))
    return {segment.metric: segment for segment in session.scalars(query)}


def _extend(
    session: Session, run_id: str, metric: str, writer: str, last: Segment | None, points: Points
) -> None:  # fmt: skip
    number = 0
    if last is not None:
        number = last.number + 1
        room = SEGMENT_POINTS - last.count
        if room > 0:
            _fill(last, Points.joined([_decode(last), points[:room]]))
            points = points[room:]
    for start in range(0, len(points), SEGMENT_POINTS):
        segment = Segment(run_id=run_id, metric=metric, writer=writer, number=number)
        _fill(segment, points[start : start + SEGMENT_POINTS])
        session.add(segment)
        number += 1


def _fill(segment: Segment, points: Points) -> None:
    segment.count = len(points)
    segment.steps, segment.times = _pack_ints(points.steps), _pack_ints(points.times_us)
    segment.values = zlib.compress(points.values.astype("<f8").tobytes(), 1)


def _decode(segment: Segment) -> Points:
    values = np.frombuffer(zlib.decompress(segment.values), "<f8")
    return Points(_unpack_ints(segment.steps), _unpack_ints(segment.times), values)


def _pack_ints(column: Ints) -> bytes:
    return zlib.compress(np.diff(column, prepend=np.int64(0)).astype("<i8").tobytes(), 1)


def _unpack_ints(packed: bytes) -> Ints:
    return np.cumsum(np.frombuffer(zlib.decompress(packed), "<i8"), dtype=np.int64)


def _summarize(known: Summary, fresh: Points) -> None:
    finite = fresh.values[np.isfinite(fresh.values)]
    last = float(fresh.values[-1])
    known.last = None if np.isnan(last) else last
    known.last_step = int(fresh.steps[-1])
    known.count += len(fresh)
    if len(finite):
        known.min = float(finite.min()) if known.min is None else min(known.min, float(finite.min()))
        known.max = float(finite.max()) if known.max is None else max(known.max, float(finite.max()))
        with np.errstate(over="ignore"):
            total = known.total + float(finite.sum())
        known.total = float(np.nan_to_num(total))  # the greatest float instead of infinity, which is no number in a sum
        known.finite_count += len(finite)


def load(session: Session, run_id: str, metric: str, rank: int | None = None) -> Points:
    """All points of a metric logged by a rank (the lowest that did, if none is given), by step, then by time.

    Raises NotFound.
    """
    mine = (Segment.run_id == run_id, Segment.metric == metric)
    written_by = (Writer.run_id == Segment.run_id) & (Writer.name == Segment.writer)
    if rank is None:
        rank = session.scalar(select(func.min(Writer.rank)).join(Segment, written_by).where(*mine))
    query = select(Segment).join(Writer, written_by).where(*mine, Writer.rank == rank)
    pieces = [_decode(segment) for segment in session.scalars(query.order_by(Segment.writer, Segment.number))]
    if not pieces:
        whose = "" if rank is None else f" by rank {rank}"
        raise NotFound(f"This run has no metric `{metric[:80]}`{whose}.")
    points = Points.joined(pieces)
    return points[np.lexsort((points.times_us, points.steps))]


def read(
    session: Session, run_id: str, metric: str, *, x: str = "step", max_points: int = 1000, rank: int | None = None
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
