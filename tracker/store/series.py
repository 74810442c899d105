"""Series: all points of one metric of one run.

What a request brings is kept as it came (store/batches.py) and made segments soon (store/compaction.py,
store/segments.py); charts read both. The summaries are up to date with each request.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from tracker.store import batches, results
from tracker.store.points import Floats, Points
from tracker.store.tables import Summary, Writer

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
    results.forget(session, [run_id])
    return too_many


def _block(metric: str, points: Points) -> batches.Block:
    lines = np.arange(len(points), dtype=np.uint32)
    return batches.Block((metric,), lines, points.steps, points.times_us, points.values[np.newaxis])


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


def _spread(known: Summary, finite: Floats) -> float | None:
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
