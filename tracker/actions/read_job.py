"""Read a job for people: all that is told of one run beside its facts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from tracker.actions.efficiency import Efficiency, efficiency
from tracker.actions.forecast import Forecast, forecasts
from tracker.actions.waiting import Waiting, waiting
from tracker.store.database import Session
from tracker.store.identity import Identity
from tracker.store.tables import Run


@dataclass(frozen=True)
class Reading:
    """How a run waits, what is to be expected of it, how well it uses what it holds; Nones where nothing is known."""

    waiting: Waiting | None
    forecast: Forecast | None
    efficiency: Efficiency | None


def read_job(session: Session, viewer: Identity, run: Run, now: datetime) -> Reading:
    """Read the job of a run whose params, summary, attempts and usage are loaded."""
    return Reading(
        waiting(session, viewer, run, now),
        forecasts(session, [run], now, exactly=True).get(run.id),
        efficiency(session, run, now),
    )
