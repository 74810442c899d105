"""The database: made by whoever comes first, the same on both kinds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tracker.errors import BadInput, DatabaseUnavailable
from tracker.store import series
from tracker.store.database import Database
from tracker.store.points import Points
from tracker.store.tables import Segment


def test_a_database_without_our_tables_is_not_ready(database_url: str) -> None:
    database = Database(database_url)
    with pytest.raises(DatabaseUnavailable, match="tracker db upgrade"):
        database.check()
    database.close()


@pytest.mark.parametrize("url", ["nonsense", "mysql://root@localhost/x", "sqlite+nope:///x"])
def test_a_database_that_cannot_be_used_is_told_in_a_sentence(url: str) -> None:
    with pytest.raises(BadInput, match=r"database URL|keeps its data in"):
        Database(url)


def test_a_database_that_does_not_answer_is_told_in_a_sentence() -> None:
    database = Database("postgresql://nobody@127.0.0.1:1/nothing")
    with pytest.raises(DatabaseUnavailable, match="The database does not work now: "):
        database.check()
    database.close()


INTS = st.integers(-(2**63), 2**63 - 1)
POINTS = st.lists(st.tuples(INTS, st.integers(0, 2**53), st.floats(width=64)), min_size=1, max_size=50)


@settings(max_examples=200, deadline=None)
@given(POINTS)
def test_columns_come_back_exactly(points: list[tuple[int, int, float]]) -> None:
    steps, times_us, values = zip(*points, strict=True)
    there = Points.of(steps, times_us, values)
    segment = Segment()
    series._fill(segment, there)
    back = series.unpack(segment.steps, segment.times, segment.values)
    assert back.steps.tolist() == list(steps)
    assert back.times_us.tolist() == list(times_us)
    assert back.values.tobytes() == np.array(values).tobytes()
