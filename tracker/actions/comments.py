"""What `tracker submit` tells through a job's comment: Slurm carries it from sbatch to queue and accounting."""

from __future__ import annotations

import urllib.parse
from datetime import datetime

from tracker.store import experiments
from tracker.store.database import Session
from tracker.store.tables import Run

_MARK = "tracker:"


def comment(experiment: str | None) -> str:
    """The comment of a job of that experiment; empty for none. Without spaces and quotes."""
    return _MARK + urllib.parse.urlencode({"experiment": experiment}) if experiment else ""


def apply(session: Session, run: Run, told: str | None, now: datetime) -> bool:
    """Put a run without an experiment into the one that its job's comment names; whether that changed anything."""
    if not told or not told.startswith(_MARK) or run.experiment.name != experiments.DEFAULT:
        return False
    named = urllib.parse.parse_qs(told[len(_MARK) :]).get("experiment", [""])[0][:500]
    if not named or named == experiments.DEFAULT:
        return False
    run.experiment = experiments.named(session, named, now)
    return True
