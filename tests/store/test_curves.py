"""What is left of a curve when it is thinned, and what the mean of ranks is."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tracker.store.curves import Curve, Mean
from tracker.store.points import Points
from tracker.store.thinning import extremes
from tracker.store.voices import BEYOND_ALL_STEPS, taken_back_from

VALUES = st.lists(st.floats(width=64), min_size=1, max_size=400)


@settings(max_examples=200, deadline=None)
@given(VALUES, st.integers(2, 50))
def test_a_thinned_curve_keeps_its_ends_and_extremes(values: list[float], most: int) -> None:
    column = np.array(values)
    kept = extremes(column, most)
    assert len(kept) <= most
    assert (kept[0], kept[-1]) == (0, len(values) - 1)
    assert (np.diff(kept) > 0).all()
    if most >= 4 and not np.isnan(column).all():
        assert np.nanmin(column[kept]) == np.nanmin(column)
        assert np.nanmax(column[kept]) == np.nanmax(column)


RANKS = st.lists(
    st.lists(st.tuples(st.integers(-5, 30), st.integers(0, 10**6), st.floats(width=32)), min_size=1, max_size=40),
    min_size=1,
    max_size=6,
)


@settings(max_examples=200, deadline=None)
@given(RANKS)
def test_a_mean_is_over_the_last_finite_value_of_each_rank_at_each_step(ranks: list[list[tuple]]) -> None:
    mean = Mean()
    expected: dict[int, list[float]] = {}
    for points in ranks:
        mean.add(Points.of(*zip(*points, strict=True)))
        last = {step: value for step, _, value in sorted(points, key=lambda one: one[:2])}
        for step, value in last.items():
            expected.setdefault(step, []).extend([value] if math.isfinite(value) else [])
    curve = mean.curve("step")
    assert curve.x.tolist() == sorted(expected)
    assert curve.low is not None
    assert curve.high is not None
    for step, y, low, high in zip(curve.x, curve.y, curve.low, curve.high, strict=True):
        values = expected[int(step)]
        if values:
            assert (low, high) == (min(values), max(values))
            assert y == pytest.approx(np.mean(values), rel=1e-9, abs=1e-9)
        else:
            assert np.isnan([y, low, high]).all()
    over_time = mean.curve("time")
    assert (np.diff(over_time.x) >= 0).all()
    assert np.array_equal(np.sort(over_time.y), np.sort(curve.y), equal_nan=True)


@settings(max_examples=100, deadline=None)
@given(VALUES, st.integers(2, 50))
def test_a_thinned_mean_keeps_the_limits_of_its_range(values: list[float], most: int) -> None:
    y = np.array(values)
    low = np.where(np.isfinite(y), y, np.nan)
    thin = Curve(np.arange(len(y)), low, low, low).thinned(most)
    assert len(thin) <= most
    assert (thin.x[0], thin.x[-1]) == (0, len(y) - 1)
    assert thin.low is not None
    assert thin.high is not None
    if not np.isnan(low).all():
        assert (np.nanmin(thin.low), np.nanmax(thin.high)) == (np.nanmin(low), np.nanmax(low))


@pytest.mark.parametrize(
    ("resumed_at", "first_step", "expected"),
    [
        (1000, 1000, 1000),  # logged at each step
        (1000, 1099, 1000),  # logged now and then
        (1000, None, 1000),  # not yet logged again
        (1000, 12, 12),  # epochs, while the rest counts steps
        (12, 1000, 1000),  # steps, while the first line told of an epoch
        (0, 7, 0),  # from the beginning
        (0, 500, 500),
        (None, 5, 5),
        (None, None, BEYOND_ALL_STEPS),
    ],
)
def test_from_which_step_a_resumed_attempt_takes_points_back(
    resumed_at: int | None, first_step: int | None, expected: int
) -> None:
    assert taken_back_from(resumed_at, first_step) == expected
