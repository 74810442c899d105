"""Whole numbers that a float64 cannot hold: what it rounds away is kept beside it.

A value is kept as the nearest float64, by which everything is drawn, thinned and summed up, and a **rest**: the value
is their sum. Only whole numbers of 64 bits beyond 2^53 have another rest than 0, at most 512, so nearly no series has a
column of them (docs/decisions/015-exact-integers.md).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

INT64 = range(-(2**63), 2**63)
_ALL_FIT = 2.0**53
"""Whole numbers up to this one are float64 without a rest."""


def rests_of(values: NDArray[np.float64], told: Callable[[int], float]) -> NDArray[np.int64] | None:
    """The rests of values, of which `told` gives by the place what they were made of; None if all are 0."""
    far = np.flatnonzero(np.abs(values) >= _ALL_FIT)
    if not len(far):
        return None
    rests = np.zeros(values.size, np.int64)
    for place in far.tolist():
        number = told(place)
        if type(number) is int and number in INT64:
            rests[place] = number - int(values.flat[place])
    return rests.reshape(values.shape) if rests.any() else None


def numbers(values: NDArray[np.float64], rests: NDArray[np.int64] | None) -> list[float]:
    """The values as they were told: those with a rest are `int`."""
    found: list[float] = values.tolist()
    if rests is not None:
        for place in np.flatnonzero(rests).tolist():
            found[place] = int(values[place]) + int(rests[place])
    return found


def chosen(rests: NDArray[np.int64] | None, which: Any) -> NDArray[np.int64] | None:
    """The rests at these places."""
    return None if rests is None else rests[which]
