"""What is packed comes back bit for bit."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tracker.store.points import Points

INT64 = st.integers(-(2**63), 2**63 - 1)
BITS = st.integers(0, 2**64 - 1)
STEADY = st.builds(lambda start, every, count: [start + every * i for i in range(count)],
                   st.integers(-(2**40), 2**40), st.integers(-1000, 1000), st.integers(0, 300))  # fmt: skip
STEPS = st.one_of(STEADY, st.lists(INT64, max_size=300))


def _same(one: Points, other: Points) -> bool:
    columns = ((one.steps, other.steps), (one.times_us, other.times_us), (one.values, other.values))
    return all(a.tobytes() == b.tobytes() and a.dtype == b.dtype for a, b in columns)


@settings(max_examples=300, deadline=None)
@given(STEPS, st.data())
def test_what_goes_in_comes_out_bit_for_bit(steps: list[int], data: st.DataObject) -> None:
    """Values by their bits: each NaN, each infinity, both zeros, and the smallest numbers."""
    size = {"min_size": len(steps), "max_size": len(steps)}
    times_us = data.draw(st.lists(INT64, **size))
    values = np.array(data.draw(st.lists(BITS, **size)), np.uint64).view(np.float64)
    there = Points(np.array(steps, np.int64), np.array(times_us, np.int64), values)
    assert _same(Points.unpacked(there.packed()), there)


def test_a_whole_segment_comes_back_and_is_small() -> None:
    """A noisy loss of float64 from a loop of some 20 ms: the steps cost nothing, the noise what noise costs."""
    chance, count = np.random.default_rng(7), 65_536
    steps = np.arange(count)
    values = 2.3 * np.exp(-steps / count) + 0.12 + 0.03 * chance.standard_normal(count)
    times_us = 1_700_000_000_000_000 + np.cumsum(20_000 + np.abs(1_500 * chance.standard_normal(count))).astype("i8")
    there = Points(steps, times_us, values)
    assert _same(Points.unpacked(there.packed()), there)
    assert len(there.packed()) < 8 * count
    from_float32 = Points(steps, times_us, values.astype("f4").astype("f8"))
    assert len(from_float32.packed()) < 4.5 * count


def test_views_and_numbers_that_are_none_are_packed_like_others() -> None:
    whole = Points.of(range(10), range(10), [math.nan, math.inf, -math.inf, -0.0, 5e-324, 1.0, 2.0, 3.0, 4.0, 5.0])
    for which in (slice(None, None, 2), slice(3, 3), slice(9, None, -1)):
        assert _same(Points.unpacked(whole[which].packed()), Points(*(
            np.ascontiguousarray(column[which]) for column in (whole.steps, whole.times_us, whole.values)
        )))  # fmt: skip
