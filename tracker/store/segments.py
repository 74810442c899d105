"""Segments: how the points of a series are kept for good, and at which of three levels they are read.

A writer's points of a metric are cut into segments, `start` being the place of a segment's first point among them. A
segment keeps its points exactly, and beside them thinned ones: `fine` are the least and the greatest of each FINE
points, `coarse` those of each COARSE points, with the segment's first and last one. Both are points that were written,
with their steps and times, so that a level is read like any other points; the means of these blocks of points stand
beside them (store/means.py). A chart reads the coarsest level that is finer than itself; see
docs/decisions/009-segments.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sqlalchemy import ColumnElement, SQLColumnExpression, and_, delete, func, insert, or_, select
from sqlalchemy.orm import Session

from tracker.store import means
from tracker.store.means import Means
from tracker.store.points import Ints, Points
from tracker.store.tables import Segment
from tracker.store.thinning import extremes, of_blocks

SEGMENT_POINTS = 65_536
EXACT, FINE, COARSE = 1, 256, 8192
"""The levels: of so many points each keeps two."""
AFTER_ALL = 2**63 - 1
_READ = {
    EXACT: Segment.points,
    FINE: func.coalesce(Segment.fine, Segment.points),
    COARSE: func.coalesce(Segment.coarse, Segment.fine, Segment.points),
}
_KEPT = {EXACT: Segment.points, FINE: Segment.fine, COARSE: Segment.coarse}
_FINE_IN_COARSE = 2 * COARSE // FINE
PORTION_POINTS = 2_000_000
_INSERT = insert(Segment.__table__)  # type: ignore[arg-type]  # a mapped class has a table
_KEY = (Segment.run_id, Segment.metric, Segment.writer, Segment.start)
_KEYS_A_STATEMENT = 800  # SQLite takes expressions of up to 1000 terms
Key = tuple[str, str, str, int]
Range = tuple[int, int]


@dataclass
class Piece:
    """Consecutive points of one writer's series: a segment's, which are read when `points` is None, or others.

    `steps` and `times_us` are the least and the greatest of each.
    """

    run_id: str
    metric: str
    writer: str
    start: int
    count: int
    steps: Range
    times_us: Range
    points: Points | None = None
    means: Means | None = None

    @classmethod
    def of(cls, run_id: str, metric: str, writer: str, points: Points, start: int = AFTER_ALL) -> Piece:
        """Points that are at hand."""
        return cls(run_id, metric, writer, start, len(points), _range(points.steps), _range(points.times_us), points)

    @property
    def series(self) -> tuple[str, str]:
        """Run and metric."""
        return self.run_id, self.metric

    @property
    def key(self) -> Key:
        """The key of the segment."""
        return self.run_id, self.metric, self.writer, self.start


def _range(column: Ints) -> Range:
    return int(column.min()), int(column.max())


def thinned(points: Points, level: int) -> Points:
    """Points at a level."""
    return points if level == EXACT else points[of_blocks(points.values, level)]


def _is_kept(level: int, count: int) -> bool:
    """Whether a segment of so many points has a column for this level."""
    return level == EXACT or count > 2 * level


def index(session: Session, run_ids: Sequence[str], metrics: Sequence[str]) -> list[Piece]:
    """The segments of these metrics of these runs, each writer's in their order, without their points."""
    query = select(
        Segment.run_id, Segment.metric, Segment.writer, Segment.start, Segment.count, Segment.least_step,
        Segment.greatest_step, Segment.least_time_us, Segment.greatest_time_us,
    ).where(Segment.run_id.in_(run_ids), Segment.metric.in_(metrics))  # fmt: skip
    rows = session.execute(query.order_by(Segment.run_id, Segment.metric, Segment.writer, Segment.start))
    return [Piece(*row[:5], row[5:7], row[7:]) for row in rows]


def read(session: Session, wanted: Mapping[int, Sequence[Piece]]) -> None:
    """Give the pieces their points, each at the level at which it is wanted, with a statement a level or few more."""
    for level, pieces in sorted(wanted.items()):
        for one in pieces:
            one.points = None if one.points is None else thinned(one.points, level)
        missing = {one.key: one for one in pieces if one.points is None}
        for key, packed in _packed(session, list(missing), _READ[level]):
            missing[key].points = _as_thin(Points.unpacked(packed), level, missing[key].count)


def _as_thin(points: Points, level: int, count: int) -> Points:
    """What a segment of so many points answers, at the level: a small one has no column for it."""
    if _is_kept(level, count):
        return points
    return thinned(points, _FINE_IN_COARSE if _is_kept(FINE, count) else level)


def read_means(session: Session, wanted: Mapping[int, Sequence[Piece]]) -> None:
    """Give the pieces their means, each of the blocks of the level at which it is wanted or of shorter ones."""
    kept: dict[int, dict[Key, Piece]] = {}
    for level, pieces in wanted.items():
        for one in pieces:
            if one.points is not None:
                one.means = Means.of(one.points)
            else:
                finest = next(found for found in (level, FINE, EXACT) if found <= level and _is_kept(found, one.count))
                kept.setdefault(finest, {})[one.key] = one
    for level, missing in sorted(kept.items()):
        for key, packed in _packed(session, list(missing), _KEPT[level]):
            if level == EXACT:
                missing[key].means = Means.of(Points.unpacked(packed))
            else:
                missing[key].means = means.unpacked(packed, level, missing[key].count)
        _make_means(session, level, {key: one for key, one in missing.items() if one.means is None})


def _make_means(session: Session, level: int, missing: Mapping[Key, Piece]) -> None:
    """Means of segments whose level was packed without: of their points."""
    at_once = PORTION_POINTS // SEGMENT_POINTS
    keys = list(missing)
    for at in range(0, len(keys), at_once):
        for key, packed in _packed(session, keys[at : at + at_once], Segment.points):
            missing[key].means = Means.of_blocks(Points.unpacked(packed), level)


def _packed(session: Session, keys: list[Key], level: SQLColumnExpression[Any]) -> Iterator[tuple[Key, bytes]]:
    for at in range(0, len(keys), _KEYS_A_STATEMENT):
        query = select(*_KEY, level).where(_are(keys[at : at + _KEYS_A_STATEMENT]))
        for run_id, metric, writer, start, packed in session.execute(query):
            yield (run_id, metric, writer, start), packed


def _are(keys: Iterable[Key]) -> ColumnElement[bool]:
    """The condition that a segment is one of these, in a form for which both databases use the key.

    Nearly always a writer's segments of all metrics begin at the same places: what is alike is told once.
    """
    starts: dict[tuple[str, str, str], list[int]] = {}
    for *series, start in keys:
        starts.setdefault(tuple(series), []).append(start)  # type: ignore[arg-type]
    metrics: dict[tuple[str, str, tuple[int, ...]], list[str]] = {}
    for (run_id, metric, writer), its in starts.items():
        metrics.setdefault((run_id, writer, tuple(its)), []).append(metric)
    return or_(
        *(
            and_(
                Segment.run_id == run_id, Segment.metric.in_(some), Segment.writer == writer, Segment.start.in_(its)
            )
            for (run_id, writer, its), some in metrics.items()
        )
    )  # fmt: skip


def extend(session: Session, run_id: str, writer: str, columns: Mapping[str, Points]) -> None:
    """Put points of metrics to the end of a writer's series.

    The last segments are packed again together with the new points, as long as each is at most twice as long as what
    follows it: so a point is packed a few times at most, however small the portions it comes in, and small segments
    stay few.
    """
    held = _held(session, run_id, writer, list(columns))
    joined = {metric: _joined(held.get(metric, []), len(points)) for metric, points in columns.items()}
    for metrics in _portions({metric: len(columns[metric]) + _count(joined[metric]) for metric in columns}):
        keys = [(run_id, metric, writer, start) for metric in metrics for start, _ in joined[metric]]
        before = {key: Points.unpacked(packed) for key, packed in _packed(session, keys, Segment.points)}
        rows: list[dict[str, Any]] = []
        for metric in metrics:
            pieces = [before.pop((run_id, metric, writer, start)) for start, _ in joined[metric]]
            start = _end(held.get(metric, [])) - _count(joined[metric])
            rows += _rows(run_id, metric, writer, start, Points.joined([*pieces, columns[metric]]))
        for at in range(0, len(keys), _KEYS_A_STATEMENT):
            remove = delete(Segment).where(_are(keys[at : at + _KEYS_A_STATEMENT]))
            session.execute(remove, execution_options={"synchronize_session": False})
        session.execute(_INSERT, rows)


def thin(session: Session, run_id: str, metric: str, writer: str, most: int) -> None:
    """Keep at most so many points of a writer's series: its ends, and the least and greatest of equal parts of it."""
    pieces = [piece for piece in index(session, [run_id], [metric]) if piece.writer == writer]
    count = sum(piece.count for piece in pieces)
    read(session, {EXACT if count <= most * FINE // 2 else FINE: pieces})
    points = Points.joined([piece.points for piece in pieces if piece.points is not None])
    for at in range(0, len(pieces), _KEYS_A_STATEMENT):
        keys = [(run_id, metric, writer, piece.start) for piece in pieces[at : at + _KEYS_A_STATEMENT]]
        session.execute(delete(Segment).where(_are(keys)), execution_options={"synchronize_session": False})
    kept = points[extremes(points.values, most)]
    session.execute(_INSERT, list(_rows(run_id, metric, writer, 0, kept)))


_Held = list[tuple[int, int]]  # segments of a series, in order: start and count


def _held(session: Session, run_id: str, writer: str, metrics: list[str]) -> dict[str, _Held]:
    found: dict[str, _Held] = {}
    for at in range(0, len(metrics), _KEYS_A_STATEMENT):
        mine = (
            Segment.run_id == run_id,
            Segment.writer == writer,
            Segment.metric.in_(metrics[at : at + _KEYS_A_STATEMENT]),
        )
        query = select(Segment.metric, Segment.start, Segment.count).where(*mine)
        for metric, start, count in session.execute(query.order_by(Segment.metric, Segment.start)):
            found.setdefault(metric, []).append((start, count))
    return found


def _joined(held: _Held, count: int) -> _Held:
    """The last segments that so many new points are joined with."""
    first = len(held)
    while first and held[first - 1][1] < SEGMENT_POINTS and held[first - 1][1] <= 2 * count:
        first -= 1
        count += held[first][1]
    return held[first:]


def _count(held: _Held) -> int:
    return sum(count for _, count in held)


def _end(held: _Held) -> int:
    return sum(held[-1]) if held else 0


def _portions(counts: Mapping[str, int]) -> Iterator[list[str]]:
    """Metrics with so many points, together as many as are unpacked at a time."""
    portion: list[str] = []
    room = PORTION_POINTS
    for metric, count in counts.items():
        if portion and (count > room or len(portion) >= _KEYS_A_STATEMENT):
            yield portion
            portion, room = [], PORTION_POINTS
        portion.append(metric)
        room -= count
    if portion:
        yield portion


def _rows(run_id: str, metric: str, writer: str, start: int, points: Points) -> Iterator[dict[str, Any]]:
    for at in range(0, len(points), SEGMENT_POINTS):
        part = points[at : at + SEGMENT_POINTS]
        yield {"run_id": run_id, "metric": metric, "writer": writer, "start": start + at, **content(part)}


def content(points: Points) -> dict[str, Any]:
    """What a segment's row says of its points."""
    (least_step, greatest_step), (least_time_us, greatest_time_us) = _range(points.steps), _range(points.times_us)
    fine, coarse = _levels(points) if _is_kept(FINE, len(points)) else (None, None)
    return {
        "count": len(points), "least_step": least_step, "greatest_step": greatest_step,
        "least_time_us": least_time_us, "greatest_time_us": greatest_time_us,
        "points": points.packed(), "fine": fine, "coarse": coarse,
    }  # fmt: skip


def _levels(points: Points) -> tuple[bytes, bytes | None]:
    """The levels that are kept of so many points, packed."""
    blocks = Means.of_blocks(points, FINE)
    fine = means.packed(points, FINE, blocks)
    if not _is_kept(COARSE, len(points)):
        return fine, None
    return fine, means.packed(points, COARSE, blocks.together(np.arange(0, len(blocks), COARSE // FINE)))
