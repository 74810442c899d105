"""Means: what stretches of consecutive points come to, so that a long series is drawn as its mean and range.

Of a stretch are known its least and greatest value, as in a level of a segment (infinities count, NaN does not), and
the mean of its finite values and how many these are, so that stretches of any length may be joined. Beside the points
of a level (see store/segments.py) a segment keeps, for each block of points that the level is made of, how many of its
points the level kept, how many of its values are finite, and their mean. Levels that were packed without these are
made anew from the points when they are read, and with these when the segment is packed again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from tracker.store.curves import Curve
from tracker.store.points import Floats, Ints, Points, columns_of, packed_column, unpacked_column
from tracker.store.thinning import of_blocks

_COLUMNS_OF_POINTS = 4  # steps, times, values and rests


@dataclass(frozen=True)
class Means:
    """Stretches of points: a step and a time in microseconds of each, how many points and finite values it has.

    `mean` is of the finite values, 0 where there is none; `low` and `high` are NaN where all values are.
    """

    steps: Ints
    times_us: Ints
    counts: Ints
    finite: Ints
    mean: Floats
    low: Floats
    high: Floats

    @classmethod
    def of(cls, points: Points) -> Means:
        """Points, each a stretch of its own."""
        values, finite = points.values, np.isfinite(points.values)
        ones = np.ones(len(points), np.int64)
        mean = np.where(finite, values, 0.0)
        return cls(points.steps, points.times_us, ones, finite.astype(np.int64), mean, values, values)

    @classmethod
    def joined(cls, pieces: Sequence[Means]) -> Means:
        """Put pieces one after the other."""
        if len(pieces) < 2:
            return pieces[0] if pieces else cls.of(Points.of([], [], []))
        return cls(*(np.concatenate([getattr(one, name) for one in pieces]) for name in _NAMES))

    def __len__(self) -> int:
        return len(self.counts)

    def __getitem__(self, which: Ints) -> Means:
        return Means(*(getattr(self, name)[which] for name in _NAMES))

    def together(self, starts: Ints) -> Means:
        """Fewer stretches, each from one of these places to the next one."""
        finite = np.add.reduceat(self.finite, starts)
        shares = self.finite / np.repeat(np.maximum(finite, 1), np.diff(np.append(starts, len(self))))
        low, high = np.fmin.reduceat(self.low, starts), np.fmax.reduceat(self.high, starts)
        with np.errstate(over="ignore"):
            mean = np.add.reduceat(self.mean * shares, starts)  # of shares: a sum could be too great for a float
        mean = np.where(finite > 0, np.fmin(np.fmax(mean, low), high), 0.0)  # a rounding leads out of no range
        counts = np.add.reduceat(self.counts, starts)
        return Means(self.steps[starts], self.times_us[starts], counts, finite, mean, low, high)

    @classmethod
    def of_blocks(cls, points: Points, block: int) -> Means:
        """Stretches of so many points each, the last one of what is left."""
        means = cls.of(points)
        return means.together(np.arange(0, len(points), block)) if block > 1 and len(points) else means

    def _by_step(self) -> Means:
        if (self.steps[1:] > self.steps[:-1]).all():
            return self
        return self[np.lexsort((self.times_us, self.steps))]

    def curve(self, x: str, most: int) -> Curve:
        """At most so many stretches over `step` or `time`, of about as many points each; x is where they begin."""
        means = self._by_step() if x == "step" else self[np.argsort(self.times_us, kind="stable")]
        if len(means) > most:
            ends = np.cumsum(means.counts)
            number = (ends - means.counts) * most // ends[-1]
            means = means.together(np.flatnonzero(np.diff(number, prepend=-1)))
        mean = np.where(means.finite > 0, means.mean, np.nan)
        return Curve(means.steps if x == "step" else means.times_us / 1e6, mean, means.low, means.high)


_NAMES = [one.name for one in fields(Means)]


def packed(points: Points, level: int, blocks: Means) -> bytes:
    """What a segment with these points keeps at a level, the means of whose blocks are these."""
    places = of_blocks(points.values, level)
    kept = np.bincount(places // level, minlength=len(blocks))
    return points[places].packed(packed_column(kept), packed_column(blocks.finite), packed_column(blocks.mean))


def unpacked(packed: bytes, level: int, count: int) -> Means | None:
    """The blocks of a level of so many points; None if it was packed without means."""
    columns = columns_of(packed)[_COLUMNS_OF_POINTS:]
    if not columns:
        return None
    kept, finite, mean = map(unpacked_column, columns, (np.int64, np.int64, np.float64))
    points = Points.unpacked(packed)
    ends = np.cumsum(kept)
    starts = ends - kept
    low, high = np.fmin.reduceat(points.values, starts), np.fmax.reduceat(points.values, starts)
    counts = np.minimum(level, count - np.arange(len(kept)) * level)
    return Means(points.steps[starts], points.times_us[starts], counts, finite, mean, low, high)
