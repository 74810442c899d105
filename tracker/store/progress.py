"""Progress: how steps, or samples of a machine, lie in time, from what segments say of themselves and few points."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

import numpy as np
from sqlalchemy import and_, select
from sqlalchemy.orm import Session

from tracker.store import batches, segments
from tracker.store.points import Ints
from tracker.store.segments import EXACT, FINE, Piece
from tracker.store.tables import Batch, Segment, Writer
from tracker.store.writers import MACHINE, SCRIPT

_LAST_PART = 4  # of a series' time the last quarter is read point by point
_MOST_EXACT = 4096  # points of a segment that is read as it was written
_AUTHOR = (Writer.kind, Writer.node, Writer.rank, Writer.restarts)


class _Found(NamedTuple):
    """A piece, and who wrote it in which attempt."""

    piece: Piece
    kind: str
    node: str | None
    rank: int
    restarts: int | None


@dataclass(frozen=True)
class Progress:
    """Where a metric's steps stood when, in the newest attempt and of its lowest rank, both ascending.

    Times are microseconds since 1970. Before the last quarter there are few points, the ends of what is kept together.
    """

    steps: Ints
    times_us: Ints


def read(session: Session, metrics: Mapping[str, str], *, exactly: bool) -> dict[str, Progress]:
    """The progress of runs, each by the steps of one metric; by two statements, however many there are.

    With `exactly` points of segments are read for the last quarter, by one statement more or two; else it is told by
    the segments' ends.
    """
    newest = {
        run_id: _newest([one for one in found if one.piece.metric == metrics[run_id]])
        for run_id, found in _pieces(session, list(metrics), sorted({*metrics.values()})).items()
    }
    if exactly:
        last = [piece for pieces in newest.values() for piece in _last(pieces)]
        few = [piece for piece in last if piece.count <= _MOST_EXACT]
        segments.read(session, {EXACT: few, FINE: [piece for piece in last if piece.count > _MOST_EXACT]})
    return {run_id: _progress(pieces) for run_id, pieces in newest.items() if pieces}


def _pieces(session: Session, run_ids: Sequence[str], metrics: Sequence[str]) -> dict[str, list[_Found]]:
    """All pieces of these metrics by run."""
    if not run_ids:
        return {}
    found: dict[str, list[_Found]] = {}
    compacted = select(
        Segment.run_id, Segment.metric, Segment.writer, Segment.start, Segment.count, Segment.least_step,
        Segment.greatest_step, Segment.least_time_us, Segment.greatest_time_us, *_AUTHOR,
    ).join(Writer, and_(Writer.run_id == Segment.run_id, Writer.name == Segment.writer))  # fmt: skip
    for row in session.execute(compacted.where(Segment.run_id.in_(run_ids), Segment.metric.in_(metrics))):
        kind, node, rank, restarts = row[9:]
        piece = Piece(*row[:5], row[5:7], row[7:9])
        found.setdefault(piece.run_id, []).append(_Found(piece, kind, node, rank, restarts))
    waiting = select(Batch.run_id, Batch.writer, Batch.content, *_AUTHOR)
    waiting = waiting.join(Writer, and_(Writer.run_id == Batch.run_id, Writer.name == Batch.writer))
    for run_id, writer, content, kind, node, rank, restarts in session.execute(
        waiting.where(Batch.run_id.in_(run_ids))
    ):
        for metric, points in batches.points_of(batches.unpack(content), {*metrics}).items():
            piece = Piece.of(run_id, metric, writer, points)
            found.setdefault(run_id, []).append(_Found(piece, kind, node, rank, restarts))
    return found


def _newest(found: Iterable[_Found]) -> list[Piece]:
    """The pieces of the lowest rank in the newest attempt."""
    of_scripts = [one for one in found if one.kind == SCRIPT]
    newest = max(((one.restarts or 0, -one.rank) for one in of_scripts), default=None)
    return [one.piece for one in of_scripts if (one.restarts or 0, -one.rank) == newest]


def _last(pieces: Sequence[Piece]) -> list[Piece]:
    """Those with points in the last part of the time that all of them take."""
    if not pieces:
        return []
    began_us, ended_us = min(one.times_us[0] for one in pieces), max(one.times_us[1] for one in pieces)
    return [one for one in pieces if one.times_us[1] >= ended_us - (ended_us - began_us) // _LAST_PART]


def _progress(pieces: Sequence[Piece]) -> Progress:
    steps, times = [], []
    for one in pieces:
        steps.append(np.array(one.steps, np.int64) if one.points is None else one.points.steps)
        times.append(np.array(one.times_us, np.int64) if one.points is None else one.points.times_us)
    all_steps, all_times = np.concatenate(steps), np.concatenate(times)
    order = np.argsort(all_times, kind="stable")
    return Progress(np.maximum.accumulate(all_steps[order]), all_times[order])


class Coverage(NamedTuple):
    """The part of a time, from 0 to 1, of which machines have samples: in the mean, and of the one seen least."""

    mean: float
    least: float


def coverage(
    session: Session, run_id: str, metric: str, began: datetime, ended: datetime, nodes: int
) -> Coverage | None:
    """How much of that time machines of so many nodes have samples; None without any.

    A sample speaks for the time until the next one if that comes when samples usually come, else for as long as usual.
    """
    of_machines = (one for one in _pieces(session, [run_id], [metric]).get(run_id, []) if one.kind == MACHINE)
    began_us, span_us = began.timestamp() * 1e6, (ended - began).total_seconds() * 1e6
    found = [one for one in of_machines if one.piece.times_us[1] >= began_us]  # not of earlier attempts
    if not found or span_us <= 0:
        return None
    by_node: dict[str | None, list[Piece]] = {}
    for one in found:
        by_node.setdefault(one.node, []).append(one.piece)
    seen = [min(1.0, _seen_us(pieces) / span_us) for pieces in by_node.values()]
    return Coverage(min(1.0, sum(seen) / max(nodes, 1)), min(seen) if len(seen) >= nodes else 0.0)


def _seen_us(pieces: list[Piece]) -> float:
    """How much time the samples of one machine speak for."""
    pieces.sort(key=lambda one: one.times_us)
    gaps = [np.empty(0)]
    for one in pieces:
        if one.points is not None:
            gaps.append(np.diff(np.sort(one.points.times_us)))
        elif one.count > 1:
            gaps.append(np.full(one.count - 1, (one.times_us[1] - one.times_us[0]) / (one.count - 1)))
    for one, later in zip(pieces, pieces[1:], strict=False):
        gaps.append(np.array([max(later.times_us[0] - one.times_us[1], 0)]))
    all_gaps = np.concatenate(gaps)
    if not len(all_gaps):
        return 0.0
    usual_us = float(np.median(all_gaps))
    # Before the first sample and after the last one there is one such time, too.
    return float(np.where(all_gaps <= 2 * usual_us, all_gaps, usual_us).sum()) + usual_us
