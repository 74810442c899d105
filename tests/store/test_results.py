"""Results: what lists sort by is right at every moment, whatever comes when."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from tests.web import samples
from tracker.store import results, runs, series, twins, writers
from tracker.store.database import Database
from tracker.store.identity import Identity
from tracker.store.search.language import parse, parse_order
from tracker.store.tables import Result, Run

ADMIN = Identity("root", "admin")


def _by_loss(db: Database, filter_text: str | None = None) -> list[str]:
    with db.read() as session:
        where = parse(filter_text) if filter_text else None
        return [
            str(run.name) for run in runs.find(session, ADMIN, where=where, orders=parse_order("metrics.loss")).items
        ]


def _make(db: Database) -> int:
    with db.write() as session:
        return results.make(session)


def _add(db: Database, name: str, state: str, loss: float) -> str:
    with db.write() as session:
        run = samples.add_run(session, name=name, state=state, took_s=None if state == "RUNNING" else 60)
        samples.log(session, run, "loss", [9.0, loss])
        return run.id


def _append(db: Database, run_id: str, loss: float) -> None:
    with db.write() as session:
        run = runs.lock(session, run_id)
        assert run is not None
        writer = writers.lock(session, run.id, "late")
        time_us = round(samples.moment().timestamp() * 1e6) + 10**9
        series.append(session, writer, {"loss": series.Points.of([9], [time_us], [loss])})


def test_a_run_is_in_its_place_while_it_lives_when_it_is_over_and_when_points_come_late(db: Database) -> None:
    late = _add(db, "a", "COMPLETED", 1.0)
    _add(db, "b", "COMPLETED", 2.0)
    live = _add(db, "c", "RUNNING", 3.0)
    assert _by_loss(db) == ["a", "b", "c"]
    assert (_make(db), _make(db)) == (2, 0)  # the third one lives
    assert _by_loss(db) == ["a", "b", "c"]
    _append(db, live, 0.5)
    assert _by_loss(db) == ["c", "a", "b"]
    _append(db, late, 7.0)
    assert _by_loss(db) == ["c", "b", "a"]
    assert _by_loss(db, "metrics.loss > 1.5") == ["b", "a"]
    assert _make(db) == 1
    assert _by_loss(db) == ["c", "b", "a"]
    assert _by_loss(db, "metrics.loss > 1.5") == ["b", "a"]


def test_runs_that_become_one_are_one_in_lists(db: Database) -> None:
    first, second = _add(db, "a", "COMPLETED", 1.0), _add(db, "b", "COMPLETED", 2.0)
    _make(db)
    with db.write() as session:
        newer, into = session.get_one(Run, first), session.get_one(Run, second)
        twins.absorb(session, [(newer, into)])
    with db.read() as session:
        assert session.scalars(select(Result)).all() == []
    assert _by_loss(db) == ["b"]
    assert _make(db) == 1
    assert _by_loss(db) == ["b"]


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_nobody_waits_for_results_and_none_is_of_the_past(db: Database) -> None:
    run_id = _add(db, "a", "COMPLETED", 1.0)
    with db.write() as session:
        assert runs.lock(session, run_id) is not None
        assert _make(db) == 0  # somebody brings points: the next time
    assert _make(db) == 1
