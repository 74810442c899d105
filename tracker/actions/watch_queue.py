"""Look at Slurm's queue: what has changed is applied to runs, and what is gone is asked of accounting."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence, Set
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
GONE_A_TRANSACTION = 500
SWEEP_EVERY_S = 60.0
"""So often all runs are compared with the queue, for those that hooks told of and no look has seen."""


class QueueLook:
    """Remembers the queue of the look before."""

    def __init__(self, db: Database, source: Source, user: str | None) -> None:
        self._db, self._source, self._user = db, source, user
        self._seen: dict[Key, QueuedJob] = {}
        self._sweep_at_s = 0.0

    def take(self, cluster: str, now: datetime, renew: Callable[[], None]) -> bool:
        """Look once; whether anything has happened. Raises SlurmUnavailable when the controller is silent.

        `renew` is called between transactions, as often as they are: it keeps the watcher's lease, or raises.
        """
        jobs = self._source.queue(user=self._user)
        seen = {key_of(job.job_id, job.array_job_id, job.array_task_id): job for job in jobs}
        changed = [job for key, job in seen.items() if self._seen.get(key) != job]
        gone = self._seen.keys() - seen.keys()
        for start in range(0, len(changed), JOBS_A_TRANSACTION):
            with self._db.write() as session:
                apply_queue(session, cluster, changed[start : start + JOBS_A_TRANSACTION], now)
            renew()
            if start + JOBS_A_TRANSACTION < len(changed):
                time.sleep(BREATH_S)  # agents want to write, too, and on SQLite one writes at a time
        with self._db.write() as session:
            clusters.get(session, cluster).as_of = now
        self._ask_about(self._vanished(cluster, sorted(gone, key=str), seen.keys(), now), renew)
        self._seen = seen
        return bool(changed or gone)

    def live(self) -> set[Key]:
        """The jobs that wait or run."""
        return {key for key, job in self._seen.items() if job.state in LIVE_STATES}

    def known(self) -> set[Key]:
        """All jobs that the controller told of."""
        return set(self._seen)

    def jobs(self) -> Collection[QueuedJob]:
        """All jobs, as the controller told last."""
        return self._seen.values()

    def job(self, key: Key) -> QueuedJob | None:
        """The job, as the controller told last."""
        return self._seen.get(key)

    def _vanished(self, cluster: str, gone: Sequence[Key], seen: Set[Key], now: datetime) -> list[str]:
        """Ids of runs that are live for us and unknown to the controller: of these jobs, now and then of all."""
        with self._db.read() as session:
            if time.monotonic() >= self._sweep_at_s:
                found = runs.live(session, cluster, before=now - SETTLED_AFTER)
                self._sweep_at_s = time.monotonic() + SWEEP_EVERY_S
            else:
                found = [
                    one
                    for start in range(0, len(gone), GONE_A_TRANSACTION)
                    for one in _live_among(session, cluster, gone[start : start + GONE_A_TRANSACTION])
                ]
        ours = (one for one in found if self._user is None or one.user == self._user)
        return sorted({one.run_id for one in ours if _key(one) not in seen})

    def _ask_about(self, run_ids: Sequence[str], renew: Callable[[], None]) -> None:
        """They have ended: accounting must be asked."""
        for start in range(0, len(run_ids), GONE_A_TRANSACTION):
            with self._db.write() as session:  # each locks its runs in one order
                for run in runs.by_ids(session, run_ids[start : start + GONE_A_TRANSACTION]):
                    run.accounting_due = True
            renew()


def _key(job: runs.LiveJob) -> Key:
    return key_of(job.job_id, job.array_job_id, job.array_task_id)


def _live_among(session: Session, cluster: str, keys: Sequence[Key]) -> list[runs.LiveJob]:
    jobs = [job_id for job_id, task in keys if task is None]
    tasks = [(array_id, task) for array_id, task in keys if task is not None]
    wanted = set(keys)
    return [one for one in runs.live_among(session, cluster, jobs, tasks) if _key(one) in wanted]
