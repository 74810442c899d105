"""Views: what a chart shows of a voice, and at which level it has to be read for that."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from sqlalchemy.orm import Session

from tracker.store import segments
from tracker.store.means import Means
from tracker.store.points import Points
from tracker.store.segments import COARSE, EXACT, FINE, Piece, thinned
from tracker.store.voices import BEYOND_ALL_STEPS, Voice


@dataclass(frozen=True)
class Window:
    """A part of the horizontal axis: of the steps, or of the times in microseconds, from the least to the greatest."""

    by_time: bool = False
    least: int = -(2**63)
    greatest: int = 2**63 - 1


EVERYWHERE = Window()


@dataclass
class Part:
    """What is shown of a piece: its points in the window at steps before `limit`, all of them if it `is_whole`.

    Of one that is not whole `count` is right only after it was `cut`.
    """

    piece: Piece
    limit: int
    is_whole: bool
    count: int
    hidden: int = 0

    def cut(self, window: Window) -> None:
        """Leave of the piece what is shown of it."""
        points = self.piece.points
        assert points is not None
        column = points.times_us if window.by_time else points.steps
        inside = (column >= window.least) & (column <= window.greatest)
        seen = inside if self.limit == BEYOND_ALL_STEPS else inside & (points.steps < self.limit)
        self.piece.points = points[np.flatnonzero(seen)]
        self.count = len(self.piece.points)
        self.hidden = int(np.count_nonzero(inside)) - self.count

    def shown(self, level: int) -> Points:
        """The points at a level; those of a whole piece were read at it."""
        assert self.piece.points is not None
        return self.piece.points if self.is_whole else thinned(self.piece.points, level)

    @property
    def means(self) -> Means:
        """Its stretches; those of a whole piece were read, of others each point is one."""
        if self.piece.means is None:
            assert self.piece.points is not None
            return Means.of(self.piece.points)
        return self.piece.means


@dataclass
class View:
    """What is shown of a voice, by restarts; `hidden` counts the points taken back that need not be read for it."""

    voice: Voice
    window: Window
    parts: dict[int, list[Part]] = field(default_factory=dict)
    levels: dict[int, int] = field(default_factory=dict)
    hidden: int = 0

    @classmethod
    def of(cls, voice: Voice, window: Window, resumed: Mapping[int, int] | None) -> View:
        """All of the voice within the window but what was taken back; nothing is if `resumed` is None."""
        view = cls(voice, window)
        limits = {} if resumed is None else voice.limits(resumed)
        for restarts, pieces in voice.pieces.items():
            limit = limits.get(restarts, BEYOND_ALL_STEPS)
            parts = [part for piece in pieces if (part := view._part(piece, limit))]
            if parts:
                view.parts[restarts] = parts
        return view

    def _part(self, piece: Piece, limit: int) -> Part | None:
        least, greatest = piece.times_us if self.window.by_time else piece.steps
        if greatest < self.window.least or least > self.window.greatest:
            return None
        is_inside = self.window.least <= least and greatest <= self.window.greatest
        if is_inside and piece.steps[0] >= limit:
            self.hidden += piece.count
            return None
        return Part(piece, limit, is_inside and piece.steps[1] < limit, piece.count)

    @property
    def count(self) -> int:
        """How many points it has at most."""
        return sum(map(_count, self.parts.values()))

    def choose_levels(self, room: int, most: int, apart: bool) -> None:
        """Choose what to read for lines of `room` points, but not more than `most` points.

        Attempts are lines of their own if they are `apart`.
        """
        for restarts, parts in self.parts.items():
            self.levels[restarts] = _level(_count(parts) if apart else self.count, room, most)

    @property
    def counts(self) -> dict[int, int]:
        """How many points it has exactly, once it was cut, by restarts; those of which nothing is left are not told."""
        return {restarts: count for restarts, parts in self.parts.items() if (count := _count(parts))}

    @property
    def all_hidden(self) -> int:
        """How many points are hidden, once it was cut."""
        return self.hidden + sum(part.hidden for part in _parts(self))

    def points(self, restarts: int) -> Points:
        """The points to draw."""
        level = self.levels.get(restarts, EXACT)
        return Points.joined([part.shown(level) for part in self.parts[restarts]])

    def means(self, restarts: int) -> Means:
        """The same as stretches, where means were read."""
        return Means.joined([part.means for part in self.parts[restarts]])


def _count(parts: Iterable[Part]) -> int:
    return sum(part.count for part in parts)


def _level(count: int, room: int, most: int) -> int:
    """The coarsest level that still has two points or more for each that can be drawn, if `most` allows it."""
    for_room = next((level for level in (COARSE, FINE) if count >= level * room), EXACT)
    return max(for_room, FINE if count > most else EXACT, COARSE if count > most * FINE // 2 else EXACT)


def cut(session: Session, views: Sequence[View]) -> None:
    """Read the pieces that are shown in part, and leave of them what is shown: nobody knew how much that is."""
    torn = [(part, view.window) for view in views for part in _parts(view) if not part.is_whole]
    segments.read(session, {EXACT: [part.piece for part, _ in torn]})
    for part, window in torn:
        part.cut(window)


def read(session: Session, views: Sequence[View], means: bool = False) -> None:
    """Read the pieces that are shown as a whole, or their means, at the level that was chosen for them."""
    wanted: dict[int, list[Piece]] = {}
    for view in views:
        for restarts, parts in view.parts.items():
            level = view.levels.get(restarts, EXACT)
            wanted.setdefault(level, []).extend(part.piece for part in parts if part.is_whole)
    if means:
        segments.read_means(session, wanted)
    else:
        segments.read(session, wanted)


def _parts(view: View) -> Iterator[Part]:
    return (part for parts in view.parts.values() for part in parts)
