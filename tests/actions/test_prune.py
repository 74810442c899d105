"""What was deleted long ago goes for good, points go when their time has come, and nothing else does."""

from __future__ import annotations

import math
import threading
from datetime import datetime, timedelta, timezone

import pytest
from sqlalchemy import event, func, select

from tests.agent_side import ADMIN, Agent, lines, points
from tests.store.filled import fill, one_seen, rows, seen
from tests.web import samples
from tracker.actions.prune import Pruned, prune
from tracker.errors import NotFound
from tracker.settings import Settings
from tracker.store import charts, integrity, retention, runs
from tracker.store.database import Database
from tracker.store.retention import Rule
from tracker.store.tables import Batch, Run, Segment, Summary

NOW = datetime.now(timezone.utc)
LATER = NOW + timedelta(days=100)


def pruned(db: Database, now: datetime = LATER, *, dry_run: bool = False, **told: int) -> Pruned:
    return prune(db, Settings(**told), now, dry_run=dry_run, report=lambda _what, _done: None)


def counts(db: Database, run_id: str) -> dict[str, int]:
    """How many rows each table has of a run."""
    with db.read() as session:
        return {
            table.__tablename__: session.scalar(select(func.count()).where(table.run_id == run_id)) or 0  # type: ignore[attr-defined]
            for table in retention.tables_of_runs()
        }


def test_a_deleted_run_is_purged_when_its_time_has_come_and_no_other(db: Database) -> None:
    fill(db)
    before = seen(db)
    with db.read() as session:
        (gone,) = session.scalars(select(Run.id).where(Run.deleted_at.is_not(None)))
    assert sum(counts(db, gone).values()) > 5
    assert pruned(db, NOW + timedelta(days=29)) == Pruned()
    assert pruned(db, dry_run=True).purged_runs == 1
    assert sum(counts(db, gone).values()) > 5
    assert pruned(db).purged_runs == 1
    assert set(counts(db, gone).values()) == {0}
    with db.read() as session:
        assert session.get(Run, gone) is None
    assert seen(db) == before
    assert pruned(db) == Pruned()


def test_a_deleted_run_that_is_not_over_is_left(db: Database) -> None:
    with db.write() as session:
        live, due = samples.add_run(session), samples.add_run(session, state="FAILED", took_s=5, accounting_due=True)
        live.deleted_at = due.deleted_at = NOW
    assert pruned(db).purged_runs == 0


def test_points_are_dropped_and_summaries_stay(db: Database) -> None:
    with db.write() as session:
        old = samples.add_run(session, experiment="old", state="COMPLETED", took_s=60)
        kept = samples.add_run(session, experiment="paper", state="COMPLETED", took_s=60)
        running = samples.add_run(session, experiment="old")
        for run in (old, kept, running):
            samples.curves(session, run, 100)
        retention.set_rule(session, Rule("paper", None, 0))
    before = seen(db)
    told = pruned(db, dry_run=True, drop_points_after_days=50)
    assert told == Pruned(dropped_runs=1, points=550)
    assert seen(db) == before
    assert pruned(db, NOW + timedelta(days=49), drop_points_after_days=50) == Pruned()
    assert pruned(db, drop_points_after_days=50) == told
    with db.read() as session:
        assert one_seen(session, runs.get(session, ADMIN, kept.id)) == before[kept.id]
        assert one_seen(session, runs.get(session, ADMIN, running.id)) == before[running.id]
        run = runs.get(session, ADMIN, old.id)
        assert (run.points_kept, len(run.summary), {one.count for one in run.summary}) == ("none", 6, {100, 50})
        with pytest.raises(NotFound, match="not kept any more; its summaries are"):
            charts.read(session, old.id, "loss")
    assert counts(db, old.id)["segments"] + counts(db, old.id)["batches"] == 0
    assert pruned(db, drop_points_after_days=50) == Pruned()


def test_points_are_thinned_to_what_a_chart_shows_and_keep_their_extremes(db: Database) -> None:
    with db.write() as session:
        old = samples.add_run(session, experiment="old", state="COMPLETED", took_s=60)
        values = [math.sin(step / 3000) for step in range(150_000)]
        values[77_777], values[123_456] = 50.0, -60.0
        samples.log(session, old, "long", values, rank=1)
        samples.log(session, old, "middle", values[76_000:78_500])
        samples.log(session, old, "short", values[:900])
        running = samples.add_run(session, experiment="old")
        samples.log(session, running, "long", values[:2000])
        summaries = {one.metric: (one.count, one.min, one.max) for one in runs.get(session, ADMIN, old.id).summary}
    told = pruned(db, dry_run=True, thin_points_after_days=30, drop_points_after_days=365)
    assert told == Pruned(thinned_runs=1, points=153_400)
    assert pruned(db, thin_points_after_days=30, drop_points_after_days=365) == told
    with db.read() as session:
        run = runs.get(session, ADMIN, old.id)
        assert run.points_kept == "thinned"
        assert {one.metric: (one.count, one.min, one.max) for one in run.summary} == summaries
        for metric, count in (("long", 150_000), ("middle", 2500)):
            curve = charts.read(session, old.id, metric, rank="all", max_points=100_000).curve
            assert 900 < len(curve) <= 1000
            assert (curve.x[0], curve.x[-1]) == (0, count - 1)
            assert (curve.y.max(), 50.0) == (50.0, curve.y[curve.x == (77_777 if count > 2500 else 1777)].max())
        assert charts.read(session, old.id, "long", rank=1, max_points=100_000).curve.y.min() == -60.0
        assert len(charts.read(session, old.id, "short", max_points=100_000).curve) == 900
        assert len(charts.read(session, running.id, "long", max_points=100_000).curve) == 2000
    assert pruned(db, thin_points_after_days=30) == Pruned()
    assert pruned(db, drop_points_after_days=30).dropped_runs == 1
    found = list(integrity.check(db, None, lambda _what, _done: None))
    assert [one.problems for one in found] == [[]] * len(found)


def test_an_experiment_may_drop_what_others_keep(db: Database) -> None:
    fill(db)
    with db.write() as session:
        retention.set_rule(session, Rule("mnist", None, 7))
        assert retention.rules(session) == [Rule("mnist", None, 7)]
    pruned(db)
    with db.read() as session:
        ended = session.execute(select(Run.points_kept, Run.state).where(Run.experiment.has(name="mnist"))).all()
        assert {kept for kept, state in ended if state == "COMPLETED"} == {"none"}
        assert {kept for kept, state in ended if state == "RUNNING"} == {"all"}
    with db.write() as session, pytest.raises(NotFound, match="no experiment `nobody`"):
        retention.set_rule(session, Rule("nobody", 1, 1))


def test_points_that_come_late_are_kept_beside_the_summaries(db: Database) -> None:
    agent = Agent(db)
    offset = agent.send(lines("dev.1", *points(5)))["parts"][0]["offset"]
    with db.write() as session:
        run = session.scalars(select(Run)).one()
        run.state, run.ended_at = "COMPLETED", NOW
    assert pruned(db, drop_points_after_days=1).dropped_runs == 1
    agent.send(lines("dev.1", *points(3, first=5), offset=offset))
    with db.read() as session:
        assert session.scalars(select(Summary.count)).one() == 8
        assert charts.read(session, run.id, "loss").curve.x.tolist() == [5, 6, 7]


def test_no_transaction_is_large_however_much_goes(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "ROWS_AT_ONCE", 10)
    with db.write() as session:
        run = samples.add_run(session, state="COMPLETED", took_s=60)
        session.flush()
        for number in range(35):
            session.add(Batch(run_id=run.id, writer="w", number=number, points=1, content=b"x"))
        runs.remove(run, NOW)
    removed: list[int] = []
    event.listen(
        db.engine, "after_cursor_execute",
        lambda _c, cursor, statement, *_: removed.append(cursor.rowcount) if "DELETE" in statement else None,
    )  # fmt: skip
    assert pruned(db).purged_runs == 1
    assert sorted(removed, reverse=True)[:5] == [10, 10, 10, 5, 1]


def test_two_at_once_while_others_write_lose_nothing_but_what_is_due(db: Database) -> None:
    with db.write() as session:
        for _ in range(10):
            run = samples.add_run(session, state="COMPLETED", took_s=60)
            samples.curves(session, run, 20)
            runs.remove(run, NOW)
    problems: list[BaseException] = []

    def work(number: int) -> None:
        try:
            if number < 2:
                pruned(db)
            for job in range(10):
                Agent(db, f"n{number}").send(lines(f"dev.{100 * number + job + 1}", *points(5)))
        except BaseException as problem:  # it is for the test to tell
            problems.append(problem)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    with db.engine.connect() as connection:
        content = rows(connection)
    assert len(content["runs"]) == 40
    assert sum(row["count"] for row in content["summaries"]) == 200


def test_every_table_of_a_run_is_known_to_retention() -> None:
    tables = [table.__tablename__ for table in retention.tables_of_runs()]
    assert {"segments", "batches", "summaries", "params", "tags", "media", "logs", "log_pieces"} <= set(tables)
    assert len(tables) == len(set(tables))
    assert Segment in set(retention.tables_of_runs())
