"""Ask accounting what jobs that ended have used: many at once, once each, some seconds after their ends."""

from __future__ import annotations

from datetime import timedelta

from tracker.actions.watch_accounting import now
from tracker.slurm.source import Source
from tracker.store import usages
from tracker.store.database import Database

MAX_JOBS_A_QUESTION = 50
"""Fewer than elsewhere: sacct tells all steps of each, of which a job may have 40,000 (MaxStepCount)."""
SETTLED_AFTER = timedelta(seconds=5)
"""slurmctld tells slurmdbd of steps and of the job's end one after the other."""


def ask_usage(db: Database, source: Source, cluster: str) -> bool:
    """Ask about runs that are due; whether there were any. Raises SlurmUnavailable: then they stay due."""
    with db.read() as session:
        due = usages.due(session, cluster, now() - SETTLED_AFTER, MAX_JOBS_A_QUESTION)
    if not due:
        return False
    told = {(one.job_id, one.started_at): one for one in source.usage({one.job_id for one in due})}
    used = []
    for one in due:
        found = told.get((one.job_id, one.started_at))
        used.append(usages.Used(one.run_id, found.cpu_s if found else None, found.memory_bytes if found else None))
    with db.write() as session:
        usages.keep(session, used)
    return True
