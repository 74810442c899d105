"""Which of many values stay when a curve is thinned: the least and the greatest of each piece of it, and its ends."""

from __future__ import annotations

import numpy as np

from tracker.store.points import Floats, Ints


def extremes(values: Floats, max_points: int) -> Ints:
    """Places of at most `max_points` values: first, last, and the least and greatest of equal buckets between them."""
    count = len(values)
    if count <= max_points:
        return np.arange(count)
    return _with_ends(values, np.linspace(1, count - 1, (max_points - 2) // 2 + 1).astype(np.int64))


def of_blocks(values: Floats, block: int) -> Ints:
    """Places of the least and greatest value of each block of so many values, of the first value and the last one."""
    count = len(values)
    return _with_ends(values, np.append(np.arange(0, count, block), count)) if count else np.arange(0)


def _with_ends(values: Floats, edges: Ints) -> Ints:
    ends = [0, len(values) - 1]
    if len(edges) < 2:
        return np.unique(ends)
    starts, between = edges[:-1] - edges[0], values[edges[0] : edges[-1]]
    lengths = np.diff(edges)
    chosen = [
        edges[0] + _first_of_each(between == np.repeat(best.reduceat(between, starts), lengths), starts, lengths)
        for best in (np.fmin, np.fmax)  # which pass over NaN
    ]
    return np.unique(np.concatenate([*chosen, ends]))


def _first_of_each(found: np.ndarray, starts: Ints, lengths: Ints) -> Ints:
    """The first place found in each bucket; its start where none is, as in one that is all NaN."""
    places = np.append(np.flatnonzero(found), len(found))
    first = places[np.searchsorted(places, starts)]
    return np.where(first < starts + lengths, first, starts)
