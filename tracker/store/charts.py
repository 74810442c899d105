"""Charts: a metric of a run as people look at it: of one rank, of all ranks, or their mean and range.

**What is hidden.** An attempt that resumes from a checkpoint logs steps again that an earlier attempt logged after that
checkpoint. Those earlier points are kept, and hidden until somebody asks for them. Attempt r resumes at step K, the
least of its writers' first steps. Of a metric whose first own step in r is f, points of earlier attempts are hidden at
steps >= K while it has none in r, and when K <= f <= 2 K + 10: it is logged now and then on the same axis. Else it
counts on another axis, such as epochs, and the points at steps >= f are hidden (docs/decisions/007-resumed-steps.md).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from sqlalchemy import ColumnElement, and_, false, func, or_, select
from sqlalchemy.orm import Session

from tracker.errors import NotFound
from tracker.store import batches
from tracker.store.curves import Curve, Mean, ordered
from tracker.store.points import Points
from tracker.store.series import unpack
from tracker.store.tables import Batch, Segment, Writer
from tracker.store.writers import MACHINE, logged

MOST_LINES = 64
MOST_POINTS = 10_000_000
"""Points read for one chart of many lines: what is more is told as left out."""
BEYOND_ALL_STEPS = 2**63
_WRITTEN_BY = (Writer.run_id == Segment.run_id) & (Writer.name == Segment.writer)
_Who = tuple[int | None, str | None, int]  # rank or node, and restarts
_Columns = tuple[bytes, bytes, bytes]
_Fresh = dict[tuple[str, int, str | None, int | None], list[Points]]
"""What is in batches only, by kind, rank, node and restarts of its writer."""


@dataclass(frozen=True)
class Line:
    """A line of a chart. `rank` is None for a mean and for a machine, which is told by its `node`."""

    rank: int | None
    attempt: int
    node: str | None
    curve: Curve
    count: int


@dataclass(frozen=True)
class Chart:
    """A metric for a chart: `curve` has at most what was asked for of `count` points; `hidden` more are not shown.

    `ranks`: a mean is over so many. `lines` are given when all ranks or all attempts were asked for, and of machines.
    """

    curve: Curve
    count: int
    hidden: int
    ranks: int | None = None
    lines: list[Line] | None = None
    lines_left_out: int = 0

    @property
    def downsampled(self) -> bool:
        """Whether points were left out to save room."""
        return len(self.curve) < self.count or any(len(one.curve) < one.count for one in self.lines or [])


@dataclass
class _Voice:
    """Whose points: a rank of the script or, with `rank` None, a node's machine. Node and points by restarts."""

    rank: int | None
    node: str | None
    nodes: dict[int, str | None] = field(default_factory=dict)
    counts: dict[int, int] = field(default_factory=dict)


Shown = Iterator[tuple[_Voice, dict[int, Points], int]]
"""Of each voice the points to show by restarts, and how many are hidden."""


def read(
    session: Session,
    run_id: str,
    metric: str,
    *,
    x: str = "step",
    max_points: int = 1000,
    rank: int | Literal["all", "mean"] | None = None,
    attempts: Literal["last", "all"] = "last",
) -> Chart:
    """A metric over `step` or `time` (seconds since 1970): at most `max_points` points in all, extremes kept.

    `rank` None is the lowest that logged it. With `attempts` "all" nothing is hidden. Machines are told one by one
    unless their mean is asked for. Raises NotFound.
    """
    fresh = _fresh(session, run_id, metric)
    voices = _voices(session, run_id, metric, fresh)
    voices = [voice for voice in voices if not isinstance(rank, int) or voice.rank == rank]
    if not voices:
        whose = f" by rank {rank}" if isinstance(rank, int) else ""
        raise NotFound(f"This run has no metric `{metric[:80]}`{whose}.")
    is_machine = voices[0].rank is None
    if rank is None and not is_machine:
        voices = voices[:1]
    if rank == "mean":
        voices = [voice for voice in voices if (voice.rank is None) == is_machine]
        kept = _within_limits(voices)
        return _mean_chart(_shown(session, run_id, metric, kept, attempts, fresh), kept, x, attempts, max_points)
    kept = _within_limits(voices, [_line_count(voice, attempts) for voice in voices])
    shown = _shown(session, run_id, metric, kept, attempts, fresh)
    if rank == "all" or attempts == "all" or is_machine:
        return _line_chart(shown, voices, kept, x, attempts, max_points)
    ((_, parts, hidden),) = shown
    curve = ordered(Points.joined([*parts.values()]), x)
    return Chart(curve.thinned(max_points), len(curve), hidden)


def _line_chart(
    shown: Shown, voices: list[_Voice], kept: list[_Voice], x: str, attempts: str, max_points: int
) -> Chart:  # fmt: skip
    room = _room(max_points, sum(_line_count(voice, attempts) for voice in kept))
    first: Curve | None = None
    lines: list[Line] = []
    hidden = 0
    for voice, parts, unseen in shown:
        hidden += unseen
        whole = Points.joined([*parts.values()])
        first = ordered(whole, x) if first is None else first
        for restarts, points in (parts if attempts == "all" or not parts else {max(parts): whole}).items():
            curve = ordered(points, x).thinned(room)
            lines.append(Line(voice.rank, restarts + 1, voice.nodes[restarts], curve, len(points)))
    assert first is not None
    left_out = sum(_line_count(voice, attempts) for voice in voices[len(kept) :]) + len(lines[:-MOST_LINES])
    return Chart(first.thinned(room), len(first), hidden, None, lines[-MOST_LINES:], left_out)


def _mean_chart(shown: Shown, kept: list[_Voice], x: str, attempts: str, max_points: int) -> Chart:
    """Mean and range over the ranks, step by step; over time, each step at the mean of its times."""
    whole, by_attempt, hidden = Mean(), dict[int, Mean](), 0
    for _, parts, unseen in shown:
        hidden += unseen
        whole.add(Points.joined([*parts.values()]))
        for restarts, points in parts.items() if attempts == "all" else ():
            by_attempt.setdefault(restarts, Mean()).add(points)
    newest = sorted(by_attempt)[-MOST_LINES:]
    room, curve = _room(max_points, len(newest)), whole.curve(x)
    lines = None
    if attempts == "all":
        curves = {restarts: by_attempt[restarts].curve(x) for restarts in newest}
        lines = [Line(None, restarts + 1, None, one.thinned(room), len(one)) for restarts, one in curves.items()]
    return Chart(curve.thinned(room), len(curve), hidden, len(kept), lines, len(by_attempt) - len(newest))


def _room(max_points: int, lines: int) -> int:
    return max(max_points // (1 + lines), 2)


def _line_count(voice: _Voice, attempts: str) -> int:
    return len(voice.counts) if attempts == "all" else 1


def _within_limits(voices: list[_Voice], lines: Sequence[int] = (0,)) -> list[_Voice]:
    """The first voices, as many as one chart may have; one at least. Each makes so many lines."""
    points = [sum(voice.counts.values()) for voice in voices]
    fits = (np.cumsum(lines) <= MOST_LINES) & (np.cumsum(points) <= MOST_POINTS)
    return voices[: max(int(np.count_nonzero(fits)), 1)]


def _fresh(session: Session, run_id: str, metric: str) -> _Fresh:
    query = select(Writer.kind, Writer.rank, Writer.node, Writer.restarts, Batch.content)
    query = query.join(Batch, (Writer.run_id == Batch.run_id) & (Writer.name == Batch.writer))
    found: _Fresh = {}
    rows = session.execute(query.where(Batch.run_id == run_id).order_by(Batch.writer, Batch.number))
    for kind, rank, node, restarts, content in rows:
        for points in batches.points_of(batches.unpack(content), metric).values():
            found.setdefault((kind, rank, node, restarts), []).append(points)
    return found


def _voices(session: Session, run_id: str, metric: str, fresh: _Fresh) -> list[_Voice]:
    """Who has points of the metric: ranks from the lowest, then machines by the names of their nodes."""
    key = (Writer.kind, Writer.rank, Writer.node, Writer.restarts)
    query = select(*key, func.sum(Segment.count)).join(Segment, _WRITTEN_BY)
    found: dict[tuple[bool, int, str], _Voice] = {}
    counts = [(*who, sum(map(len, pieces))) for who, pieces in fresh.items()]
    counts += session.execute(query.where(*_of(run_id, metric)).group_by(*key)).all()
    for kind, rank, node, requeues, count in counts:
        restarts = requeues or 0
        who = (True, 0, node or "") if kind == MACHINE else (False, rank, "")
        voice = found.setdefault(who, _Voice(None, node) if kind == MACHINE else _Voice(rank, None))
        voice.nodes[restarts] = min(filter(None, (voice.nodes.get(restarts), node)), default=None)
        voice.counts[restarts] = voice.counts.get(restarts, 0) + int(count)
    return [found[who] for who in sorted(found)]


def _of(run_id: str, metric: str) -> tuple[ColumnElement[bool], ...]:
    return Segment.run_id == run_id, Segment.metric == metric


def _shown(
    session: Session, run_id: str, metric: str, voices: list[_Voice], attempts: str, fresh: _Fresh
) -> Shown:  # fmt: skip
    """Read the voices one by one: only one of them is unpacked at a time."""
    packed = _packed(session, run_id, metric, voices)
    waiting: dict[_Who, list[Points]] = {}
    for (kind, rank, node, requeues), pieces in fresh.items():
        key = (None, node) if kind == MACHINE else (rank, None)
        waiting.setdefault((*key, requeues or 0), []).extend(pieces)
    resumed = {} if attempts == "all" else {one.restarts: one.first_step for one in logged(session, run_id)}
    for voice in voices:
        parts: dict[int, Points] = {}
        for restarts in sorted(voice.counts):
            who = (voice.rank, voice.node, restarts)
            pieces = [unpack(*columns) for columns in packed.pop(who, ())]
            parts[restarts] = Points.joined(pieces + waiting.get(who, []))
        seen = parts if voice.rank is None or attempts == "all" else _visible(parts, resumed)
        yield voice, seen, sum(map(len, parts.values())) - sum(map(len, seen.values()))


def _packed(session: Session, run_id: str, metric: str, voices: list[_Voice]) -> dict[_Who, list[_Columns]]:
    """The columns of the voices' segments, in one statement."""
    query = select(Writer.rank, Writer.node, Writer.kind, Writer.restarts, Segment.steps, Segment.times, Segment.values)
    query = query.join(Segment, _WRITTEN_BY).where(*_of(run_id, metric), _spoken_by(voices))
    found: dict[_Who, list[_Columns]] = {}
    rows = session.execute(query.order_by(Segment.writer, Segment.number))
    for rank, node, kind, restarts, steps, times, values in rows:
        who = (None, node) if kind == MACHINE else (rank, None)
        found.setdefault((*who, restarts or 0), []).append((steps, times, values))
    return found


def _spoken_by(voices: list[_Voice]) -> ColumnElement[bool]:
    """The condition that a writer is of these voices, which are all from the first rank to the last one."""
    ranks = [voice.rank for voice in voices if voice.rank is not None]
    nodes = [voice.node or "" for voice in voices if voice.rank is None]
    of_script = and_(Writer.kind != MACHINE, Writer.rank.between(ranks[0], ranks[-1])) if ranks else false()
    return or_(of_script, and_(Writer.kind == MACHINE, func.coalesce(Writer.node, "").in_(nodes)))


def _visible(parts: Mapping[int, Points], resumed: Mapping[int, int]) -> dict[int, Points]:
    """The points of each attempt that no later attempt has taken back; see the top of this file."""
    seen: dict[int, Points] = {}
    limit = BEYOND_ALL_STEPS
    for restarts in sorted({*parts, *resumed}, reverse=True):
        points = parts.get(restarts)
        if points is not None:
            kept = points[np.flatnonzero(points.steps < limit)] if limit < BEYOND_ALL_STEPS else points
            if len(kept):
                seen[restarts] = kept
        limit = min(limit, taken_back_from(resumed.get(restarts), None if points is None else int(points.steps.min())))
    return dict(sorted(seen.items()))


def taken_back_from(resumed_at: int | None, first_step: int | None) -> int:
    """The step from which an attempt takes back a metric's earlier points.

    `resumed_at` is the least first step of the attempt's writers, `first_step` the least of the metric in it.
    """
    if first_step is None:
        return BEYOND_ALL_STEPS if resumed_at is None else resumed_at
    same_axis = resumed_at is not None and resumed_at <= first_step <= 2 * abs(resumed_at) + 10
    return resumed_at if same_axis and resumed_at is not None else first_step
