"""Understand lines of points. They become blocks, lines with the same metrics together (see store/batches.py).

Nearly all lines of a file are as our client writes them and have the same metrics: those are taken together, with no
look at each value, and checked as columns. What is odd in any way is taken value by value, to the same end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import chain
from typing import Any

import numpy as np

from tracker.actions.read_values import MAX_TIME_S, flattened, number, said_at, whole
from tracker.store.batches import Block
from tracker.store.exact import rests_of

MAX_STEP = 2**63 - 1
NO_TIME_US = -1
_MIN_STEP = -(2**63)
_PLAIN = frozenset(("metrics", "step", "time"))
_NUMBERS = frozenset((float, int, bool))
_TIMES = frozenset((float, int))
_MOST_NOTES = 100
_MOST_REMEMBERED = 64  # names of a line, so that what is remembered stays small
_TOGETHER = 512  # lines that are taken together, or one by one if one of them is odd


@dataclass
class _Rows:
    """Lines with the same metrics: their places, steps, times in seconds, and values."""

    places: list[int] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)
    times_s: list[float] = field(default_factory=list)
    values: list[Sequence[float]] = field(default_factory=list)


class PointLines:
    """Lines of points, taken in the order written.

    Steps count on from the last line's where a line tells none. The first lines may tell none: `counted` of them have
    steps from 0 on, to which must be added where the file stood (see `blocks`). `first_step` is that of the first line
    if it tells one, `next_step` that of the next line, None as long as no line told one. `notes` has by metric what is
    no number.
    """

    def __init__(self) -> None:
        self.lines = 0
        self.counted = 0
        self.first_step: int | None = None
        self.next_step: int | None = None
        self.notes: dict[str, str] = {}
        self._rows: dict[tuple[str, ...], _Rows] = {}

    def take_all(self, messages: Sequence[dict[str, Any]]) -> int:
        """Take lines of which `is_plain` is true; the answer says how many of them are no lines of points."""
        refused = 0
        for start in range(0, len(messages), _TOGETHER):
            some = messages[start : start + _TOGETHER]
            if not self._take_together(some):
                refused += sum(not self.take(message) for message in some)
        return refused

    def take(self, message: dict[str, Any]) -> bool:
        """Take any line; False if it is no line of points."""
        told, metrics = message.get("step"), message.get("metrics")
        step = self._step() if told is None else whole(told)
        if step is None or not isinstance(metrics, dict):
            return False
        time_s = said_at(message)
        names, values = [], []
        for metric, value in flattened(metrics):
            figure = number(value)
            if figure is None:
                if len(self.notes) < _MOST_NOTES:
                    self.notes[metric] = f"{type(value).__name__} is no number"
                continue
            names.append(metric)
            values.append(figure)
        self._add(tuple(names), step, NO_TIME_US if time_s is None else time_s, values)
        if told is None and self.next_step is None:
            self.counted += 1
        else:
            self._go_on_after(step)
        return True

    def _step(self) -> int:
        return self.counted if self.next_step is None else self.next_step

    def _add(self, names: tuple[str, ...], step: int, time_s: float, values: Sequence[float]) -> None:
        rows = self._rows.setdefault(names, _Rows())
        rows.places.append(self.lines)
        rows.steps.append(step)
        rows.times_s.append(time_s)
        rows.values.append(values)
        self.lines += 1

    def _go_on_after(self, step: int) -> None:
        if self.lines - 1 == 0:
            self.first_step = step
        self.next_step = min(step + 1, MAX_STEP)

    def _take_together(self, messages: Sequence[dict[str, Any]]) -> bool:
        """Take plain lines if nothing about them is odd, else none of them."""
        steps, times_s = [one["step"] for one in messages], [one["time"] for one in messages]
        metrics = [one["metrics"] for one in messages]
        if {*map(type, steps)} != {int} or not {*map(type, times_s)} <= _TIMES or {*map(type, metrics)} != {dict}:
            return False
        values = [[*one.values()] for one in metrics]
        if not {*map(type, chain.from_iterable(values))} <= _NUMBERS:
            return False
        if min(steps) < _MIN_STEP or max(steps) > MAX_STEP or min(times_s) < 0 or max(times_s) > MAX_TIME_S:
            return False
        names = [*map(tuple, metrics)]
        if not all(map(_are_kept, {*names})):
            return False
        self._put(names, steps, times_s, values)
        return True

    def _put(
        self, names: list[tuple[str, ...]], steps: list[int], times_s: list[float], values: list[list[float]]
    ) -> None:  # fmt: skip
        if self.lines == 0:
            self.first_step = steps[0]
        if names.count(names[0]) == len(names):
            rows = self._rows.setdefault(names[0], _Rows())
            rows.places.extend(range(self.lines, self.lines + len(steps)))
            rows.steps.extend(steps)
            rows.times_s.extend(times_s)
            rows.values.extend(values)
            self.lines += len(steps)
        else:
            for line in zip(names, steps, times_s, values, strict=True):
                self._add(*line)
        self.next_step = min(steps[-1] + 1, MAX_STEP)

    def blocks(self, *, start: int, now_us: int, skew_us: int) -> list[Block]:
        """The lines by their metrics. A file that stood at step `start` goes on from there.

        Their clock is `skew_us` behind, and `now_us` (microseconds since 1970) is by ours: the time of lines without.
        """
        return [
            self._block(names, rows, start, now_us, skew_us) for names, rows in self._rows.items() if names
        ]  # fmt: skip

    def _block(self, names: tuple[str, ...], rows: _Rows, start: int, now_us: int, skew_us: int) -> Block:
        count = len(rows.places)
        places, steps = np.array(rows.places, np.uint32), np.array(rows.steps, np.int64)
        if self.counted and start:
            mine = places < self.counted
            steps[mine] = np.minimum(steps[mine], MAX_STEP - max(start, 0)) + start
        times_us = np.rint(np.array(rows.times_s, np.float64) * 1e6).astype(np.int64)
        told = times_us >= 0
        if skew_us:
            times_us = np.clip(times_us + skew_us, 0, MAX_TIME_S * 1_000_000)
        if not told.all():
            times_us[~told] = now_us
        values = np.fromiter(chain.from_iterable(rows.values), np.float64, count * len(names))
        by_line = values.reshape(count, len(names))
        rests = rests_of(by_line, lambda place: rows.values[place // len(names)][place % len(names)])
        by_metric = np.ascontiguousarray(by_line.T)
        return Block(names, places, steps, times_us, by_metric, None if rests is None else rests.T)


def is_plain(message: Any) -> bool:
    """Whether a line has exactly what our client writes."""
    return type(message) is dict and message.keys() == _PLAIN


def _are_kept(names: tuple[str, ...]) -> bool:
    """Whether metrics are kept under the names that were written."""
    return _known_as_kept(names) if len(names) <= _MOST_REMEMBERED else _as_kept(names) == names


@lru_cache(512)
def _known_as_kept(names: tuple[str, ...]) -> bool:
    return _as_kept(names) == names


def _as_kept(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name for name, _ in flattened(dict.fromkeys(names)))
