"""A node whose clock is wrong tells the right times all the same, and changes nobody else's."""

from __future__ import annotations

import time
from datetime import datetime, timedelta, timezone

import pytest

from tests.agent_side import ADMIN, Agent, hook, lines
from tracker.store import charts, clocks, params, runs
from tracker.store.clocks import Measured
from tracker.store.database import Database
from tracker.store.tables import Run

HOUR_S = 3600.0


def run_of(db: Database, job_id: int) -> Run:
    with db.read() as session:
        return runs.get(session, ADMIN, f"dev:{job_id}")


def times_of(db: Database, job_id: int) -> list[float]:
    with db.read() as session:
        return charts.read(session, run_of(db, job_id).id, "loss", x="time").curve.x.tolist()


def logged(at: float, count: int = 3, **more: object) -> list[dict[str, object]]:
    return [{"metrics": {"loss": 1.0}, "step": step, "time": at + step, **more} for step in range(count)]


@pytest.mark.parametrize("skew_s", [HOUR_S, -HOUR_S], ids=["behind", "ahead"])
def test_a_clock_that_is_an_hour_off_yields_true_times(db: Database, skew_s: float) -> None:
    node = Agent(db, skew_s=skew_s)
    begun = time.time() - 100
    its = begun - skew_s
    epilog = hook("epilog", 12, at=its + 50)
    node.send(hook("prolog", 12, at=its))
    for _ in range(2):  # what comes twice is known again, though its time is not the one it has here
        node.send(lines("dev.12", *logged(its + 10), {"metrics": {"loss": 2.0}, "step": 3}), epilog)
    run = run_of(db, 12)
    assert run.started_at is not None and run.ended_at is not None
    assert abs(run.started_at.timestamp() - begun) < 2
    assert abs(run.ended_at.timestamp() - begun - 50) < 2
    assert len(run.attempts) == 1
    told = times_of(db, 12)
    assert [round(at - begun) for at in told[:3]] == [10, 11, 12]
    assert told[1] - told[0] == pytest.approx(1, abs=1e-5)
    assert abs(told[3] - time.time()) < 5  # it said no time: that of its arrival
    with db.read() as session:
        assert "clock of " in params.notes(session, run)[0].key
        assert set(clocks.wrong(session)) == {("dev", "n1")}


def test_a_liar_changes_only_its_own_times(db: Database) -> None:
    liar, honest = Agent(db, "n1", skew_s=HOUR_S), Agent(db, "n2")
    now = time.time()
    liar.send(lines("dev.12", *logged(now)))
    honest.send(lines("dev.13", *logged(now)))
    assert times_of(db, 13) == pytest.approx([now, now + 1, now + 2], abs=1e-5)


def test_who_sees_a_shared_home_brings_times_of_other_clocks(db: Database) -> None:
    now = time.time()
    Agent(db, "login", skew_s=HOUR_S, shared=True).send(lines("dev.12", *logged(now)))
    assert times_of(db, 12) == pytest.approx([now, now + 1, now + 2], abs=1e-5)


def test_small_differences_are_left_alone_and_keep_the_order(db: Database) -> None:
    now, sent = time.time(), 0
    for number, skew_s in enumerate((0.5, -1.5, 1.9, -0.2)):
        part = lines("dev.12", {"metrics": {"loss": 1.0}, "step": number, "time": now + number}, offset=sent)
        Agent(db, skew_s=skew_s).send(part)
        sent += len(part[1])
    assert times_of(db, 12) == pytest.approx([now, now + 1, now + 2, now + 3], abs=1e-5)


@pytest.mark.parametrize("said", [0, 1e9, 253402300799, 1e308, -5, float("nan"), "x", None, True])
def test_a_clock_of_another_century_breaks_nothing(db: Database, said: object) -> None:
    node = Agent(db)
    node.skew_s = time.time() - said if type(said) in (int, float) else 0  # type: ignore[operator]
    answer = node.send(hook("prolog", 12, at=1.7e9), lines("dev.12", *logged(2e11), *logged(0, 1, step=9)))
    assert [one.get("error") for one in answer["parts"]] == [None, None]
    assert run_of(db, 12).summary[0].count == 4


def test_a_slow_request_is_no_wrong_clock_and_a_lasting_difference_is(db: Database) -> None:
    now = datetime(2026, 1, 1, tzinfo=timezone.utc)
    second = timedelta(seconds=1)

    def measure(skew_s: float, at_s: float) -> float:
        with db.write() as session:
            (skew,) = clocks.behind(session, [Measured("dev", "n1", skew_s * second, now + at_s * second)])
            assert skew is not None
            return skew.total_seconds()

    assert [measure(0.1, 0), measure(30, 5), measure(0.1, 6)] == [0, 0, 0]
    assert [measure(30, 20), measure(30, 50), measure(30, 67)] == [0, 0, 30]
    assert [measure(30.9, 70), measure(29.2, 80)] == [30, 30]
    assert [measure(0.2, 90), measure(-40, 91), measure(-40.5, 92)] == [0, -40, -40]
