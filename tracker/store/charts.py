"""Charts: a metric of a run as people look at it: of one rank, of all ranks, or their mean and range.

A chart is planned from what the segments say of themselves, and then reads no more than it can show: see
store/segments.py. What is hidden in it is told in store/voices.py.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from tracker.errors import NotFound
from tracker.store import batches, segments, views, writers
from tracker.store.curves import Curve, Mean, ordered
from tracker.store.means import Means
from tracker.store.points import Points
from tracker.store.retention import ALL, NONE
from tracker.store.segments import Piece
from tracker.store.tables import Run
from tracker.store.views import EVERYWHERE, View, Window
from tracker.store.voices import resumed_at, voices
from tracker.store.writers import Author

MOST_LINES = 64
MOST_POINTS = 10_000_000
"""Points read as they were written for the charts of one request; what has more is read thinned, or left out."""
SeriesName = tuple[str, str]  # run and metric


@dataclass(frozen=True)
class Asked:
    """What a chart is to show: a metric over `step` or `time` (seconds since 1970), from `x_min` to `x_max`.

    At most `max_points` points in all, extremes kept; or, with `thin` "mean", so many means with their ranges. `rank`
    None is the lowest that logged it. With `attempts` "all" nothing is hidden. Machines are told one by one unless
    their mean is asked for.
    """

    x: Literal["step", "time"] = "step"
    max_points: int = 1000
    rank: int | Literal["all", "mean"] | None = None
    attempts: Literal["last", "all"] = "last"
    x_min: float | None = None
    x_max: float | None = None
    thin: Literal["extremes", "mean"] = "extremes"

    @property
    def by_stretches(self) -> bool:
        """Whether lines are drawn as means of stretches of their points; those of ranks are means of another kind."""
        return self.thin == "mean" and self.rank != "mean"

    @property
    def window(self) -> Window:
        """The part of the axis that is asked for."""
        least, greatest = EVERYWHERE.least, EVERYWHERE.greatest
        if self.x_min is not None:
            least = max(least, round(self.x_min * 1e6) if self.x == "time" else math.ceil(self.x_min))
        if self.x_max is not None:
            greatest = min(greatest, round(self.x_max * 1e6) if self.x == "time" else math.floor(self.x_max))
        return Window(self.x == "time", least, greatest)


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

    `points_kept` tells whether there were more before retention thinned them.

    `ranks`: a mean is over so many. `lines` are given when all ranks or all attempts were asked for, and of machines.
    """

    curve: Curve
    count: int
    hidden: int
    ranks: int | None = None
    lines: list[Line] | None = None
    lines_left_out: int = 0
    points_kept: str = ALL

    @property
    def downsampled(self) -> bool:
        """Whether points were left out to save room."""
        return len(self.curve) < self.count or any(len(one.curve) < one.count for one in self.lines or [])


def read(session: Session, run_id: str, metric: str, asked: Asked | None = None, **more: Any) -> Chart:
    """A metric of a run as it is asked for, in one object or by names. Raises NotFound."""
    asked = asked or Asked(**more)
    found = read_many(session, [run_id], [metric], asked)
    if not found:
        if session.scalar(select(Run.points_kept).where(Run.id == run_id)) == NONE:
            raise NotFound("The points of this run are not kept any more; its summaries are.")
        whose = f" by rank {asked.rank}" if isinstance(asked.rank, int) else ""
        raise NotFound(f"This run has no metric `{metric[:80]}`{whose}.")
    return found[run_id, metric]


def read_many(
    session: Session, run_ids: Sequence[str], metrics: Sequence[str], asked: Asked
) -> dict[SeriesName, Chart]:  # fmt: skip
    """These metrics of these runs, as far as there are such, by run and metric: in as many statements as one needs."""
    pieces: dict[SeriesName, list[Piece]] = {}
    for piece in segments.index(session, run_ids, metrics):
        pieces.setdefault(piece.series, []).append(piece)
    authors = writers.authors(session, run_ids)
    for run_id, metric, writer, points in batches.waiting(session, run_ids, metrics, _names(authors, asked)):
        pieces.setdefault((run_id, metric), []).append(Piece.of(run_id, metric, writer, points))
    plans: dict[SeriesName, _Plan] = {}
    for series, found in sorted(pieces.items()):
        resumed = None if asked.attempts == "all" else resumed_at(authors, series[0])
        whose = [View.of(voice, asked.window, resumed) for voice in voices(found, authors)]
        plan = _plan(whose, asked, MOST_POINTS // len(pieces))
        if plan is not None:
            plans[series] = plan
    shown = [view for plan in plans.values() for view in plan.views]
    views.cut(session, shown)
    for plan in plans.values():
        plan.choose_levels(MOST_POINTS // len(shown))
    views.read(session, shown, means=asked.by_stretches)
    kept = {run_id: author.points_kept for (run_id, _), author in authors.items()}
    return {series: replace(plans.pop(series).draw(), points_kept=kept[series[0]]) for series in list(plans)}


def _names(authors: Mapping[tuple[str, str], Author], asked: Asked) -> set[str] | None:
    """The names of the rank's writers if one rank is asked for: those of thousands of others need not be read."""
    if not isinstance(asked.rank, int):
        return None
    return {name for (_, name), author in authors.items() if author.rank == asked.rank}


@dataclass(frozen=True)
class _Plan:
    """A chart to read and draw: of these views, with so much room for each line; `left_out` lines are too many."""

    asked: Asked
    views: list[View]
    room: int
    are_lines: bool
    left_out: int

    def choose_levels(self, most: int) -> None:
        """Choose what to read of each view, at most so many points; a mean needs the points as they were written."""
        if self.asked.rank != "mean":
            for view in self.views:
                view.choose_levels(self.room, most, apart=self.asked.attempts == "all")

    def draw(self) -> Chart:
        """The chart, once the views are read."""
        if self.asked.rank == "mean":
            return _mean_chart(self)
        if self.are_lines:
            return _line_chart(self)
        view = self.views[0]
        return Chart(self.curve(view, view.counts), sum(view.counts.values()), view.all_hidden)

    def curve(self, view: View, restarts: Iterable[int]) -> Curve:
        """What is drawn of these attempts of a view as one line."""
        if self.asked.by_stretches:
            return Means.joined([view.means(one) for one in restarts]).curve(self.asked.x, self.room)
        return ordered(Points.joined([view.points(one) for one in restarts]), self.asked.x).thinned(self.room)


def _plan(whose: list[View], asked: Asked, most: int) -> _Plan | None:
    """What to read for a chart of these voices: at most so many points as they were written. None if there is none."""
    whose = [view for view in whose if not isinstance(asked.rank, int) or view.voice.rank == asked.rank]
    if not whose:
        return None
    is_machine = whose[0].voice.rank is None
    if asked.rank == "mean":
        whose = [view for view in whose if (view.voice.rank is None) == is_machine]
        return _Plan(asked, whose[: _fitting([view.count for view in whose], most)], asked.max_points, False, 0)
    if asked.rank is None and not is_machine:
        whose = whose[:1]
    are_lines = asked.rank == "all" or asked.attempts == "all" or is_machine
    lines = [len(view.parts) if asked.attempts == "all" else 1 for view in whose]
    fitting = _fitting(lines, MOST_LINES)
    room = _room(asked.max_points, sum(lines[:fitting])) if are_lines else asked.max_points
    return _Plan(asked, whose[:fitting], room, are_lines, sum(lines[fitting:]))


def _fitting(amounts: Sequence[int], most: int) -> int:
    """How many of the first ones come to no more than `most`; one at least."""
    return max(int(np.count_nonzero(np.cumsum(amounts) <= most)), 1)


def _room(max_points: int, lines: int) -> int:
    return max(max_points // (1 + lines), 2)


def _line_chart(plan: _Plan) -> Chart:
    lines: list[Line] = []
    first = plan.views[0]
    curve = plan.curve(first, first.counts)
    for view in plan.views:
        counts, nodes, rank = view.counts, view.voice.nodes, view.voice.rank
        if plan.asked.attempts == "last" and counts:
            last, count = max(counts), sum(counts.values())
            of_all = curve if view is first else plan.curve(view, counts)
            lines.append(Line(rank, last + 1, nodes[last], of_all, count))
        else:
            lines += [Line(rank, one + 1, nodes[one], plan.curve(view, [one]), count) for one, count in counts.items()]
    left_out, hidden = plan.left_out + len(lines[:-MOST_LINES]), sum(view.all_hidden for view in plan.views)
    return Chart(curve, sum(first.counts.values()), hidden, None, lines[-MOST_LINES:], left_out)


def _mean_chart(plan: _Plan) -> Chart:
    """Mean and range over the ranks, step by step; over time, each step at the mean of its times."""
    whole, by_attempt, hidden = Mean(), dict[int, Mean](), sum(view.all_hidden for view in plan.views)
    for view in plan.views:
        points = {restarts: view.points(restarts) for restarts in view.counts}
        whole.add(Points.joined([*points.values()]))
        for restarts, some in points.items() if plan.asked.attempts == "all" else ():
            by_attempt.setdefault(restarts, Mean()).add(some)
    newest = sorted(by_attempt)[-MOST_LINES:]
    x, room, curve = plan.asked.x, _room(plan.asked.max_points, len(newest)), whole.curve(plan.asked.x)
    lines = None
    if plan.asked.attempts == "all":
        curves = {restarts: by_attempt[restarts].curve(x) for restarts in newest}
        lines = [Line(None, restarts + 1, None, one.thinned(room), len(one)) for restarts, one in curves.items()]
    return Chart(curve.thinned(room), len(curve), hidden, len(plan.views), lines, len(by_attempt) - len(newest))
