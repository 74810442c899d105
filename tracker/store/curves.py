"""Curves: points in the order of a chart's horizontal axis, thinned to what can be seen, and means over ranks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tracker.store import exact
from tracker.store.points import Floats, Ints, Points
from tracker.store.thinning import extremes


@dataclass(frozen=True)
class Curve:
    """Points of a line: `x` ascending (steps, or seconds since 1970), `y`, and the range around it if it is a mean.

    `rests` are what float64 rounds away of `y`, see store/exact.py.
    """

    x: Floats | Ints
    y: Floats
    low: Floats | None = None
    high: Floats | None = None
    rests: Ints | None = None

    def __len__(self) -> int:
        return len(self.x)

    def thinned(self, max_points: int) -> Curve:
        """At most so many points. The least and greatest values stay, and of a mean the limits of its range."""
        if len(self) <= max_points:
            return self
        if self.low is None or self.high is None:
            chosen = extremes(self.y, max_points)
            return Curve(self.x[chosen], self.y[chosen], rests=exact.chosen(self.rests, chosen))
        starts = np.linspace(0, len(self) - 1, max_points).astype(np.int64)
        low, high = np.fmin.reduceat(self.low, starts), np.fmax.reduceat(self.high, starts)
        known = np.isfinite(self.y)
        with np.errstate(invalid="ignore", over="ignore"):
            mean = np.add.reduceat(np.where(known, self.y, 0.0), starts) / np.add.reduceat(known, starts)
        return Curve(self.x[starts], mean, low, high)


def ordered(points: Points, x: str) -> Curve:
    """Points by time, or by step and then time."""
    if x == "time":
        points = points[np.argsort(points.times_us, kind="stable")]
        return Curve(points.times_us / 1e6, points.values, rests=points.rests)
    points = _by_step(points)
    return Curve(points.steps, points.values, rests=points.rests)


def _by_step(points: Points) -> Points:
    """Points by step, and those of one step by time."""
    if (points.steps[1:] > points.steps[:-1]).all():  # as nearly all are, and sorting takes longer than looking
        return points
    return points[np.lexsort((points.times_us, points.steps))]


class Mean:
    """Mean and range over ranks, by step. Of each rank counts its last value at a step; only finite ones count."""

    def __init__(self) -> None:
        self.steps: Ints = np.empty(0, np.int64)
        self.sums = np.empty((len(_NEUTRAL), 0))

    def add(self, points: Points) -> None:
        """Take in the points of one more rank."""
        points = _by_step(points)
        points = points[np.append(points.steps[1:] != points.steps[:-1], True)[: len(points)]]
        at = self._places_of(points.steps)
        total, number, low, high, time_s, ranks = self.sums
        finite = np.isfinite(points.values)
        values = np.where(finite, points.values, 0.0)
        with np.errstate(over="ignore"):
            total[at] += values
        number[at] += finite
        low[at] = np.minimum(low[at], np.where(finite, values, np.inf))
        high[at] = np.maximum(high[at], np.where(finite, values, -np.inf))
        time_s[at] += points.times_us / 1e6
        ranks[at] += 1

    def _places_of(self, steps: Ints) -> slice | Ints:
        """Where these steps have their sums; made if they are new. Ranks mostly log the same steps."""
        if np.array_equal(self.steps, steps):
            return slice(None)
        all_steps = np.union1d(self.steps, steps)
        grown = np.repeat(_NEUTRAL, len(all_steps), axis=1)
        grown[:, np.searchsorted(all_steps, self.steps)] = self.sums
        self.steps, self.sums = all_steps, grown
        return np.searchsorted(all_steps, steps)

    def curve(self, x: str) -> Curve:
        """What was taken in, over `step` or `time`."""
        total, number, low, high, time_s, ranks = self.sums
        known = number > 0
        mean = np.full(len(total), np.nan)
        np.divide(total, number, out=mean, where=known)
        low, high = np.where(known, low, np.nan), np.where(known, high, np.nan)
        if x != "time":
            return Curve(self.steps, mean, low, high)
        order = np.argsort(time_s / ranks, kind="stable")
        return Curve((time_s / ranks)[order], mean[order], low[order], high[order])


_NEUTRAL = np.array([[0.0], [0.0], [np.inf], [-np.inf], [0.0], [0.0]])
