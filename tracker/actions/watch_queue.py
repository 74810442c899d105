"""Look at Slurm's queue: what has changed is applied to runs, and what is gone is asked of accounting."""

from __future__ import annotations

import time
from datetime import datetime, timedelta

from tracker.actions.apply_queue import apply_queue
from tracker.actions.reconcile import Key, key_of
from tracker.slurm.records import QueuedJob
from tracker.slurm.source import Source
from tracker.states import LIVE_STATES
from tracker.store import clusters, runs
from tracker.store.database import Database, Session

JOBS_A_TRANSACTION = 100
BREATH_S = 0.2
SETTLED_AFTER = timedelta(seconds=3)


class QueueLook:
    """Remembers the queue of the look before."""

    def __init__(self, db: Database, source: Source, user: str | None) -> None:
        self._db, self._source, self._user = db, source, user
        self._seen: dict[Key, QueuedJob] = {}

    def take(self, cluster: str, now: datetime) -> bool:
        """Look once; whether anything has happened. Raises SlurmUnavailable when the controller is silent."""
        jobs = self._source.queue(user=self._user)
        seen = {key_of(job.job_id, job.array_job_id, job.array_task_id): job for job in jobs}
        changed = [job for key, job in seen.items() if self._seen.get(key) != job]
        first_look, gone = not self._seen, self._seen.keys() - seen.keys()
        for start in range(0, len(changed), JOBS_A_TRANSACTION):
            with self._db.write() as session:
                apply_queue(session, cluster, changed[start : start + JOBS_A_TRANSACTION], now)
            if start + JOBS_A_TRANSACTION < len(changed):
                time.sleep(BREATH_S)  # agents want to write, too, and on SQLite one writes at a time
        with self._db.write() as session:
            clusters.get(session, cluster).as_of = now
        if first_look or gone:
            with self._db.write() as session:  # one of its own: each locks its runs in one order
                self._mark_vanished(session, cluster, set(seen), now)
        self._seen = seen
        return bool(changed or gone)

    def live(self) -> set[Key]:
        """The jobs that wait or run."""
        return {key for key, job in self._seen.items() if job.state in LIVE_STATES}

    def known(self) -> set[Key]:
        """All jobs that the controller told of."""
        return set(self._seen)

    def job(self, key: Key) -> QueuedJob | None:
        """The job, as the controller told last."""
        return self._seen.get(key)

    def _mark_vanished(self, session: Session, cluster: str, seen: set[Key], now: datetime) -> None:
        """Runs that are live for us and unknown to the controller have ended: accounting must be asked."""
        live = runs.live(session, cluster, before=now - SETTLED_AFTER)
        ours = (run for run in live if self._user is None or run.user == self._user)
        gone = [one.id for one in ours if key_of(one.job_id, one.array_job_id, one.array_task_id) not in seen]
        for run in runs.by_ids(session, gone):
            run.accounting_due = True
