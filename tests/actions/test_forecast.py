"""What is to be expected of a run that says how many steps it takes."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import numpy as np
import pytest

from tests.web import samples
from tracker.actions.forecast import Forecast, as_time_option, expect, forecasts, max_steps
from tracker.store import params, runs, suspensions
from tracker.store.database import Database
from tracker.store.identity import Identity
from tracker.store.progress import Progress

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=timezone.utc)
ADMIN = Identity("root", "admin")


def walked(count: int, every_s: float, *, first: int = 0, pauses: tuple[int, ...] = (), pause_s: float = 0) -> Progress:
    """Steps, the last one now; a pause after some of them."""
    gaps = np.full(count, every_s)
    gaps[[one for one in pauses]] += pause_s
    times = np.cumsum(gaps)
    return Progress(
        np.arange(first, first + count), ((times - times[-1] + NOW.timestamp()) * 1e6).astype(np.int64)
    )  # fmt: skip


def told(
    progress: Progress, most: int, limit_in_h: float | None, ran_h: float, later_s: float = 0, quiet_s: float = 0
) -> Forecast:
    """Looked at `later_s` after its last step, and `quiet_s` after anything came of it."""
    limit_at = None if limit_in_h is None else NOW + timedelta(hours=limit_in_h)
    now = NOW + timedelta(seconds=later_s)
    found = expect(progress, most, NOW - timedelta(hours=ran_h), limit_at, now - timedelta(seconds=quiet_s), now)
    assert found is not None
    return found


def test_a_run_that_will_be_done_in_time_says_when() -> None:
    found = told(walked(3600, 1.0), 7200, limit_in_h=3, ran_h=1)
    assert found.verdict == "finishes"
    assert found.steps_per_s == pytest.approx(1.0, rel=0.01)
    assert found.ends_at is not None
    assert abs(found.ends_at - (NOW + timedelta(hours=1))) < timedelta(minutes=1)
    assert str(found) == "It will finish about 2h 00m before its time limit."


def test_a_run_that_will_not_be_done_says_how_far_it_comes_and_what_to_ask_for() -> None:
    found = told(walked(3600, 1.0), 18_000, limit_in_h=2, ran_h=1)
    assert found.verdict == "will not finish"
    assert str(found) == "It will not finish: 60 % of its steps at the limit; ask for --time=05:45:00."


def test_a_rate_that_varies_makes_it_uncertain() -> None:
    """It evaluates for a minute and a half now and then: so long that it may be too late."""
    progress = walked(3600, 1.0, pauses=tuple(range(0, 3600, 400)), pause_s=90)
    found = told(progress, 7000, limit_in_h=1.18, ran_h=1.2)
    assert found.spread > 0.05
    assert found.verdict == "may not finish"
    assert "may not finish" in str(found)


def test_only_the_last_stretch_counts() -> None:
    """The first hour was ten times as slow: another partition of the data."""
    slow, fast = walked(360, 10.0), walked(3600, 1.0, first=360)
    progress = Progress(
        np.concatenate([slow.steps, fast.steps]), np.concatenate([slow.times_us - 3_600_000_000, fast.times_us])
    )
    assert told(progress, 10_000, limit_in_h=10, ran_h=2).steps_per_s == pytest.approx(1.0, rel=0.01)


def test_a_run_that_makes_no_step_any_more_is_called_stalled() -> None:
    found = told(walked(3600, 1.0), 7200, limit_in_h=2, ran_h=1, later_s=1500)
    assert (found.verdict, found.stalled_since, found.ends_at) == ("stalled", NOW, None)
    assert "made no step since 2026-03-01 12:00 UTC, at step 3599 of 7200" in str(found)
    assert told(walked(3600, 1.0), 7200, limit_in_h=2, ran_h=1, later_s=60).verdict == "finishes"
    evaluates = walked(3600, 1.0, pauses=(3300,), pause_s=600)
    assert told(evaluates, 7200, limit_in_h=9, ran_h=1, later_s=1500).verdict == "finishes"


def test_a_run_of_which_nothing_comes_at_all_is_called_silent() -> None:
    """Its agent tells how busy its machine is, so when that does not come either, shipping may have stopped."""
    found = told(walked(3600, 1.0), 7200, limit_in_h=2, ran_h=1, later_s=1500, quiet_s=1490)
    assert (found.verdict, found.stalled_since, found.ends_at) == ("silent", NOW, None)
    assert str(found).startswith("Nothing came of it since 2026-03-01 12:00 UTC, at step 3599 of 7200: it stands still")
    assert told(walked(3600, 1.0), 7200, limit_in_h=2, ran_h=1, later_s=1500, quiet_s=1300).verdict == "stalled"


def test_a_run_that_made_all_steps_only_has_to_end() -> None:
    found = told(walked(3600, 1.0), 3600, limit_in_h=1, ran_h=1, later_s=3000)
    assert (found.verdict, found.percent_at_limit) == ("finishes", 100.0)


def test_too_little_is_no_forecast() -> None:
    assert expect(walked(3, 1.0), 100, NOW, None, NOW, NOW) is None
    stands = Progress(np.full(100, 7), walked(100, 1.0).times_us)
    assert expect(stands, 100, NOW, None, NOW, NOW) is None


@pytest.mark.parametrize(
    ("given", "most"),
    [
        ({"max_steps": "1000"}, 1000), ({"max_steps": "1e4"}, 10_000), ({"trainer/max_steps": "50"}, 50),
        ({"optimizer.total_steps": "60"}, 60), ({"num_steps": "7", "max_steps": "8"}, 8),
        ({"max_steps": "-1", "total_steps": "9"}, 9), ({"max_steps": "nan"}, None), ({"max_steps": "1e300"}, None),
        ({"max_steps": "<script>"}, None), ({"lr": "3"}, None),
    ],
)  # fmt: skip
def test_how_many_steps_a_run_takes(given: dict[str, str], most: int | None) -> None:
    assert max_steps(given) == most


@pytest.mark.parametrize(
    ("seconds", "option"),
    [(61, "00:05:00"), (3600, "01:00:00"), (3601, "01:15:00"), (50_000, "14:00:00"), (90_000, "1-01:00:00")],
)
def test_a_time_to_ask_for(seconds: float, option: str) -> None:
    assert as_time_option(seconds) == option


def test_points_far_beyond_any_measure_do_no_harm() -> None:
    wild = Progress(np.array([-(2**63), 0, 2**62]), np.array([0, 10**6 * 60, 10**6 * 120]))
    assert expect(wild, 2**62, NOW, NOW, NOW, NOW) is not None
    slow = Progress(np.array([0, 1]), np.array([0, 10**15]))
    found = expect(slow, 2**62, NOW, NOW + timedelta(days=1), NOW, NOW)
    assert found is not None
    assert found.ends_at is None


def test_only_the_attempt_that_runs_counts(db: Database) -> None:
    """The first one was four times as slow, and came to step 1,000; the second one went on at step 500."""
    with db.write() as session:
        run = samples.add_run(session, age_s=8000, time_limit_s=7200)
        samples.log(session, run, "loss", [1.0] * 1000, every_s=4, ago_s=2500)
        samples.add_attempt(session, run, {}, number=2, restarts=1, started_at=samples.moment(2400))
        samples.log(session, run, "loss", [1.0] * 2000, first_step=500, restarts=1)
        samples.log(session, run, "epoch", [1.0] * 4, every_s=500, restarts=1)
        params.set_params(session, run.id, {"max_steps": "5000"})
    with db.read() as session:
        found = forecasts(session, [runs.get(session, ADMIN, run.id)], datetime.now(timezone.utc), exactly=True)[run.id]
    assert (found.step, found.max_steps) == (2499, 5000)
    assert found.steps_per_s == pytest.approx(1.0, rel=0.02)
    assert found.limit_at == samples.moment(2400) + timedelta(hours=2) or found.verdict == "finishes"
    assert found.verdict == "finishes"


def test_a_limit_stands_still_while_the_run_is_suspended(db: Database) -> None:
    """It had an hour of an hour and a half to wait for others; without that it would not be done in time."""
    with db.write() as session:
        run = samples.add_run(session, age_s=5412, time_limit_s=3600)
        samples.log(session, run, "loss", [1.0] * 1200)
        params.set_params(session, run.id, {"max_steps": "2400"})
        suspensions.begin(session, run.id, [], samples.moment(5000), "controller")
        suspensions.end(suspensions.of(session, run.id), samples.moment(1400))
    with db.read() as session:
        stored = runs.get(session, ADMIN, run.id)
        found = forecasts(session, [stored], datetime.now(timezone.utc))[run.id]
    assert stored.started_at is not None
    assert found.limit_at == stored.started_at + timedelta(hours=2)
    assert found.verdict == "finishes"
