"""End the runs that scripts began beside that of their job, once the job is over and they said no goodbye."""

from __future__ import annotations

from datetime import datetime

from tracker.states import LOST
from tracker.store import runs
from tracker.store.database import Session

_SCRIPT_CHOSE = ("COMPLETED", "FAILED")


def end_beside(session: Session, now: datetime) -> None:
    """A job that Slurm ended ended them with it; in one that ended by itself their processes died unnoticed.

    A goodbye that is delivered later corrects this.
    """
    for run, job in runs.begun_in_jobs_that_are_over(session):
        is_lost = job.state in (*_SCRIPT_CHOSE, LOST)
        runs.changes(
            run, state=LOST if is_lost else job.state, state_source="client" if is_lost else job.state_source,
            ended_at=job.ended_at or now, updated_at=now,
            reason="its process said no goodbye before the job ended" if is_lost else "its job was ended by Slurm",
        )  # fmt: skip
