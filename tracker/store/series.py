"""Series: all points of one metric of one run, kept as columns.

A writer's points of a metric are cut into segments of at most `SEGMENT_POINTS` points. A segment holds three columns,
each little-endian and zlib-compressed: steps and times (microseconds since 1970) as int64 differences from one point to
the next, values as float64, exact, NaN and infinities included. New points go to the last segment until it is full.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import func, select, tuple_
from sqlalchemy.orm import Session

from tracker.store import batches, results
from tracker.store.points import Ints, Points
from tracker.store.tables import Segment, Summary, Writer

SEGMENT_POINTS = 8192
BATCHES_FOLDED = 64
"""So many batches of a writer become segments at once."""
MOST_METRICS = 2000
"""Metrics of one run: as much as people can look at, and little enough that no user's run makes others wait."""


def append(session: Session, writer: Writer, columns: Mapping[str, Points]) -> list[str]:
    """Put points of metrics to the end of a writer's series, and into the summaries.

    A run has at most MOST_METRICS metrics; the answer names those that were one too many and are not kept.
    """
    if not columns:
        return []
    run_id = writer.run_id
    chosen = select(Summary).where(Summary.run_id == run_id, Summary.metric.in_(list(columns)))
    known = {summary.metric: summary for summary in session.scalars(chosen)}
    fresh = [metric for metric in columns if metric not in known]
    have = session.scalar(select(func.count()).where(Summary.run_id == run_id)) if fresh else 0
    too_many = fresh[max(MOST_METRICS - (have or 0), 0) :]
    for metric in fresh[: len(fresh) - len(too_many)]:
        known[metric] = _empty_summary(run_id, metric, writer)
        session.add(known[metric])
    for metric, summary in known.items():
        _summarize(summary, columns[metric])
        _note_last(summary, writer, columns[metric])
    kept = [(metric, points) for metric, points in columns.items() if metric in known]
    batches.add(session, writer, [_block(metric, points) for metric, points in kept])
    if writer.batches % BATCHES_FOLDED == 0:
        fold(session, writer)
    results.forget(session, [run_id])
    return too_many


def _block(metric: str, points: Points) -> batches.Block:
    lines = np.arange(len(points), dtype=np.uint32)
    return batches.Block((metric,), lines, points.steps, points.times_us, points.values[np.newaxis])


def fold(session: Session, writer: Writer) -> None:
    """Make segments of a writer's batches."""
    pending = batches.pending(session, writer.run_id, writer=writer.name)
    last = _last_segments(session, writer, [one.metric for one in pending])
    for one in pending:
        _extend(session, writer, one.metric, last.get(one.metric), one.points)
    session.flush()
    batches.remove(session, writer.run_id, {one.writer: one.last for one in pending})


def _last_segments(session: Session, writer: Writer, metrics: list[str]) -> dict[str, Segment]:
    mine = (Segment.run_id == writer.run_id, Segment.writer == writer.name, Segment.metric.in_(metrics))
    newest = select(Segment.metric, func.max(Segment.number)).where(*mine).group_by(Segment.metric)
    query = select(Segment).where(*mine, tuple_(Segment.metric, Segment.number).in_(newest))
    return {segment.metric: segment for segment in session.scalars(query)}


def _extend(session: Session, writer: Writer, metric: str, last: Segment | None, points: Points) -> None:
    number = 0
    if last is not None:
        number = last.number + 1
        room = SEGMENT_POINTS - last.count
        if room > 0:
            _fill(last, Points.joined([unpack(last.steps, last.times, last.values), points[:room]]))
            points = points[room:]
    for start in range(0, len(points), SEGMENT_POINTS):
        segment = Segment(run_id=writer.run_id, metric=metric, writer=writer.name, number=number)
        _fill(segment, points[start : start + SEGMENT_POINTS])
        session.add(segment)
        number += 1


def _fill(segment: Segment, points: Points) -> None:
    segment.count = len(points)
    segment.steps, segment.times = _pack_ints(points.steps), _pack_ints(points.times_us)
    segment.values = zlib.compress(points.values.astype("<f8").tobytes(), 1)


def unpack(steps: bytes, times: bytes, values: bytes) -> Points:
    """The points of a segment's three columns."""
    return Points(_unpack_ints(steps), _unpack_ints(times), np.frombuffer(zlib.decompress(values), "<f8"))


def _pack_ints(column: Ints) -> bytes:
    return zlib.compress(np.diff(column, prepend=np.int64(0)).astype("<i8").tobytes(), 1)


def _unpack_ints(packed: bytes) -> Ints:
    return np.cumsum(np.frombuffer(zlib.decompress(packed), "<i8"), dtype=np.int64)


def _summarize(known: Summary, fresh: Points) -> None:
    finite = fresh.values[np.isfinite(fresh.values)]
    known.count += len(fresh)
    if len(finite):
        known.min = float(finite.min()) if known.min is None else min(known.min, float(finite.min()))
        known.max = float(finite.max()) if known.max is None else max(known.max, float(finite.max()))
        with np.errstate(over="ignore", invalid="ignore"):
            total, spread = known.total + float(finite.sum()), _spread(known, finite)
        known.total = float(np.nan_to_num(total))  # the greatest float instead of infinity, which is no number in a sum
        known.spread = None if spread is None else float(np.nan_to_num(spread))
        known.finite_count += len(finite)


def _spread(known: Summary, finite: NDArray[np.float64]) -> float | None:
    """The sum of squared distances from the mean of all (Chan, Golub and LeVeque 1983): exact where squares are not."""
    mean, here = finite.mean(), float(np.square(finite - finite.mean()).sum())
    if not known.finite_count or known.spread is None:
        return known.spread if known.finite_count else here
    apart = float(mean) - known.total / known.finite_count
    share = known.finite_count * len(finite) / (known.finite_count + len(finite))
    return known.spread + here + float(np.square(np.float64(apart))) * share


def _empty_summary(run_id: str, metric: str, writer: Writer) -> Summary:
    return Summary(
        run_id=run_id, metric=metric, total=0.0, spread=0.0, finite_count=0, count=0, min=None, max=None, last=None,
        last_step=0, last_restarts=writer.restarts or 0, last_rank=writer.rank, last_time_us=np.iinfo(np.int64).min,
    )  # fmt: skip


def _note_last(known: Summary, writer: Writer, fresh: Points) -> None:
    """The last point is that of the newest attempt's lowest rank, by time: late points of others do not touch it."""
    newest = len(fresh) - 1 - int(np.argmax(fresh.times_us[::-1]))  # of equal times the one written last
    time_us = int(fresh.times_us[newest])
    mine = (writer.restarts or 0, -writer.rank, time_us)
    if mine < (known.last_restarts, -known.last_rank, known.last_time_us):
        return
    last = float(fresh.values[newest])
    known.last = None if np.isnan(last) else last
    known.last_step = int(fresh.steps[newest])
    known.last_restarts, known.last_rank, known.last_time_us = writer.restarts or 0, writer.rank, time_us
