"""Summaries that are brought up to date request by request are those of all points."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.web.samples import add_run
from tracker.store import summaries
from tracker.store.batches import Block
from tracker.store.database import Database
from tracker.store.tables import Summary

VALUES = st.one_of(
    st.floats(-1e6, 1e6),
    st.sampled_from([math.nan, math.inf, -math.inf, 0.0, 5e-324, -5e-324, 1e-160, 1.7e308, -1.7e308, 1e150]),
)
PIECES = st.lists(
    st.tuples(st.lists(VALUES, min_size=1, max_size=5), st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=6
)
METRIC = 'a "quoted", \\ {name}, NULL'


def block(values: list[float], first: int) -> Block:
    steps = np.arange(first, first + len(values), dtype=np.int64)
    return Block((METRIC,), steps.astype(np.uint32), steps, steps * 10, np.array([values]))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(PIECES)
def test_any_pieces_come_to_what_all_points_come_to(db: Database, pieces: list[tuple[list[float], int, int]]) -> None:
    whole: summaries.Figures | None = None
    with db.write() as session:
        run = add_run(session).id
        first = 0
        for values, restarts, rank in pieces:
            (figures,) = summaries.of([block(values, first)], restarts=restarts, rank=rank).values()
            whole = figures if whole is None else whole + figures
            summaries.add(session, {(run, METRIC): figures})
            first += len(values)
        kept = session.get_one(Summary, (run, METRIC))
        assert whole is not None
        finite = [value for values, *_ in pieces for value in values if math.isfinite(value)]
        assert (kept.count, kept.finite_count) == (sum(len(values) for values, *_ in pieces), len(finite))
        assert (kept.min, kept.max) == (min(finite, default=None), max(finite, default=None))
        assert (kept.last, kept.last_step, kept.last_restarts, kept.last_rank) == whole[:4]
        assert (kept.last_restarts, -kept.last_rank) == max((restarts, -rank) for _, restarts, rank in pieces)
        assert kept.total == whole.total
        assert whole.spread is not None
        assert kept.spread == pytest.approx(whole.spread, rel=1e-9, abs=1e-250) or whole.spread > 1e250
        if finite and max(map(abs, finite)) <= 1e6:
            assert kept.total == pytest.approx(math.fsum(finite), rel=1e-9, abs=1e-6)
            assert kept.spread == pytest.approx(float(np.var(finite)) * len(finite), rel=1e-6, abs=1e-6)
        session.rollback()


def test_a_request_of_many_runs_and_metrics_is_one_statement(db: Database) -> None:
    with db.write() as session:
        runs = [add_run(session).id for _ in range(3)]
        rows = {
            (run, f"m{number}"): summaries.of([block([1.0], 0)], restarts=0, rank=0)[METRIC]
            for run in runs
            for number in range(300)
        }
        summaries.add(session, rows)
        summaries.add(session, rows)
        assert {one.count for one in session.query(Summary)} == {2}
