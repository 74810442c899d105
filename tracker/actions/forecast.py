"""Tell when a run that says how many steps it takes will be done, and whether that is before its time limit."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

import numpy as np

from tracker.quantities import duration
from tracker.store import progress as store
from tracker.store import suspensions
from tracker.store.database import Session
from tracker.store.points import Floats
from tracker.store.progress import Progress
from tracker.store.tables import Run

MAX_STEPS_PARAMS = ("max_steps", "total_steps", "num_steps")
"""The params by which a run says how many steps it takes; the first one that there is counts."""
ROOM = 1.1
"""So much longer than the slowest expectation is what is advised."""
_HARDWARE = "system/"
_STRETCH = timedelta(minutes=10)  # this long at least, if there is as much, and a quarter of the attempt
_SLICES = 5
_LEAST_S = 10.0
_STALL_S = 120.0
_LONGEST_S = 10 * 365 * 86_400.0
_MOST_STEPS = 2.0**63


@dataclass(frozen=True)
class Forecast:
    """What is to be expected of a run. Rates are steps a second of the last stretch, `spread` their deviation in it.

    `ends_at` is when all steps are done at this rate, None if nobody can tell; `limit_at` is the time limit.
    `percent_at_limit` are the steps done by then. `stalled_since`: no step came since, for far longer than one took so
    far; it is silent if nothing else came either, and only stalled if something did: then its agent would have told.
    """

    step: int
    max_steps: int
    steps_per_s: float
    spread: float
    ends_at: datetime | None
    latest_end_at: datetime | None
    limit_at: datetime | None
    percent_at_limit: float | None
    stalled_since: datetime | None
    verdict: str  # finishes, may not finish, will not finish, stalled, silent, or no limit
    time_to_ask_for: str | None

    def __str__(self) -> str:
        """The verdict in a sentence or two."""
        if self.verdict == "stalled":
            since = f"{self.stalled_since:%Y-%m-%d %H:%M}"
            return f"It made no step since {since} UTC, at step {self.step} of {self.max_steps}."
        if self.verdict == "silent":
            since = f"{self.stalled_since:%Y-%m-%d %H:%M}"
            said = f"Nothing came of it since {since} UTC, at step {self.step} of {self.max_steps}"
            return f"{said}: it stands still, or what it writes does not get here (is its node's agent at work?)."
        if self.percent_at_limit is None or self.limit_at is None:
            return ""
        if self.verdict == "finishes":
            room = f" about {duration(self.limit_at - self.ends_at)}" if self.ends_at else ""
            return f"It will finish{room} before its time limit."
        certain = "will not" if self.verdict == "will not finish" else "may not"
        asks = f"; ask for --time={self.time_to_ask_for}" if self.time_to_ask_for else ""
        return f"It {certain} finish: {self.percent_at_limit:.0f} % of its steps at the limit{asks}."


def forecasts(session: Session, runs: Collection[Run], now: datetime, *, exactly: bool = False) -> dict[str, Forecast]:
    """Forecasts by run, of those of which something can be told. Their params, summary and attempts are loaded.

    With `exactly` more is read of the last stretch, which may be in the middle of what is kept together.
    """
    steps = {run.id: most for run in runs if run.state == "RUNNING" and (most := max_steps(_params(run)))}
    running = {run.id: run for run in runs if run.id in steps}
    metrics = {run_id: metric for run_id, run in running.items() if (metric := _counting(run))}
    found = store.read(session, metrics, exactly=exactly)
    began = {run_id: at for run_id in found if (at := _began(running[run_id]))}
    paused = suspensions.lengths(session, began)
    told = {
        run_id: _of(running[run_id], one, steps[run_id], paused.get(run_id, timedelta(0)), now)
        for run_id, one in found.items()
    }
    return {run_id: one for run_id, one in told.items() if one is not None}


def _began(run: Run) -> datetime | None:
    """When its newest attempt started."""
    return run.attempts[-1].started_at if run.attempts else run.started_at


def _params(run: Run) -> dict[str, str]:
    return {one.key: one.value for one in run.params}


def max_steps(params: Mapping[str, str]) -> int | None:
    """How many steps the run takes, by its params: those of the names themselves, or grouped as `trainer/max_steps`."""
    for name in MAX_STEPS_PARAMS:
        grouped = sorted(key for key in params if re.split(r"[/.]", key)[-1] == name)
        for key in (name, *grouped):
            try:
                number = float(params.get(key, ""))
            except ValueError:
                continue
            if 1 <= number < _MOST_STEPS:
                return int(number)
    return None


def _counting(run: Run) -> str | None:
    """The metric whose steps stand for the run's: of the newest attempt the one that came furthest."""
    own = [one for one in run.summary if not one.metric.startswith(_HARDWARE)]
    best = max(own, key=lambda one: (one.last_restarts, one.last_step, one.count), default=None)
    return best.metric if best else None


def _of(run: Run, progress: Progress, most: int, paused: timedelta, now: datetime) -> Forecast | None:
    started_at, limit_at = _began(run), None
    if started_at and run.time_limit_s:  # suspended it does not come closer to its limit
        limit_at = started_at + timedelta(seconds=min(run.time_limit_s, _LONGEST_S)) + paused
    return expect(progress, most, started_at, limit_at, run.heard_at, now)


def expect(
    progress: Progress,
    most: int,
    started_at: datetime | None,
    limit_at: datetime | None,
    heard_at: datetime | None,
    now: datetime,
) -> Forecast | None:
    """What is to be expected of a run that made this progress; None while that is too little to tell.

    `heard_at` is when anything came of it last: steps, samples of its machine, or output.
    """
    times_s, steps = progress.times_us / 1e6, progress.steps.astype(np.float64)
    rates = _rates(times_s, steps)
    if rates is None:
        return None
    rate, spread = rates
    step, last_s = int(progress.steps[-1]), float(times_s[-1])
    left = max(most - step - 1, 0)  # the last step of 100 is 99, or 100
    patience_s = _patience_s(times_s)
    stalled = left > 0 and now.timestamp() - last_s > patience_s
    silent = stalled and (heard_at is None or heard_at.timestamp() - last_s <= patience_s)
    ends_at = None if stalled else _at(last_s, left, rate)
    latest = None if stalled else _at(last_s, left, max(rate - spread, rate / 2))
    percent = None
    if limit_at is not None and not stalled:
        percent = min(100.0, max(0.0, 100 * (step + 1 + rate * (limit_at.timestamp() - last_s)) / most))
    return Forecast(
        step=step, max_steps=most, steps_per_s=rate, spread=spread, ends_at=ends_at, latest_end_at=latest,
        limit_at=limit_at, percent_at_limit=percent, stalled_since=_moment(last_s) if stalled else None,
        verdict="silent" if silent else "stalled" if stalled else _verdict(ends_at, latest, limit_at),
        time_to_ask_for=_advice(started_at, latest, limit_at),
    )  # fmt: skip


def _verdict(ends_at: datetime | None, latest: datetime | None, limit_at: datetime | None) -> str:
    if limit_at is None:
        return "no limit"
    if ends_at is None or ends_at > limit_at:
        return "will not finish"
    return "finishes" if latest is not None and latest <= limit_at else "may not finish"


def _rates(times_s: Floats, steps: Floats) -> tuple[float, float] | None:
    """Steps a second in the last stretch, and how they differ in equal parts of it; None if there was too little."""
    ended = times_s[-1]
    stretch = max((ended - times_s[0]) / 4, _STRETCH.total_seconds())
    began = max(times_s[0], ended - stretch)
    if ended - began < _LEAST_S:
        return None
    at = np.linspace(began, ended, _SLICES + 1)
    done = np.diff(np.interp(at, times_s, steps)) / ((ended - began) / _SLICES)
    rate, spread = float(done.mean()), float(done.std(ddof=1))
    return (rate, spread) if math.isfinite(rate) and rate > 0 and math.isfinite(spread) else None


def _patience_s(times_s: Floats) -> float:
    """How long steps may stay away: evaluation and checkpoints took their time before, too."""
    gaps = np.diff(times_s[times_s >= times_s[-1] - (times_s[-1] - times_s[0]) / 4])  # before there are few points
    return max(_STALL_S, 3 * float(gaps.max(initial=0.0)))


def _at(last_s: float, left: float, rate: float) -> datetime | None:
    seconds = left / rate
    return _moment(last_s + seconds) if seconds < _LONGEST_S else None


def _moment(at_s: float) -> datetime | None:
    return datetime.fromtimestamp(at_s, tz=timezone.utc) if 0 <= at_s < 200_000_000_000 else None


def _advice(started_at: datetime | None, latest: datetime | None, limit_at: datetime | None) -> str | None:
    if started_at is None or latest is None or limit_at is None or latest <= limit_at:
        return None
    return as_time_option((latest - started_at).total_seconds() * ROOM)


def as_time_option(seconds: float) -> str:
    """A length of time as `--time` takes it, rounded up: to 5 minutes, beyond 1 hour to 15, beyond 12 hours to 60."""
    unit_s = next(unit for most, unit in ((3600, 300), (12 * 3600, 900), (math.inf, 3600)) if seconds <= most)
    whole = math.ceil(seconds / unit_s) * unit_s
    days, rest = divmod(whole, 86_400)
    clock = f"{rest // 3600:02}:{rest % 3600 // 60:02}:00"
    return f"{days}-{clock}" if days else clock
