"""Look at Slurm's queue: what has changed is applied to runs, and what is gone is asked of accounting."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from datetime import datetime, timedelta

from tracker.actions.apply_queue import apply_queue
from tracker.actions.reconcile import Key, key_of
from tracker.slurm.records import QueuedJob
from tracker.slurm.source import Source
from tracker.slurm.states import PENDING
from tracker.states import LIVE_STATES
from tracker.store import clusters, runs
from tracker.store.database import Database, Session

JOBS_A_TRANSACTION = 100
"""Agents want to write, too, and on SQLite one writes at a time."""
SETTLED_AFTER = timedelta(seconds=3)
GONE_A_TRANSACTION = 500
SWEEP_EVERY_S = 60.0
"""So often all runs are compared with the queue, for those that hooks told of and no look has seen."""


class QueueLook:
    """Remembers the queue as it was told last, and what of it has been applied."""

    def __init__(self, db: Database, source: Source, user: str | None) -> None:
        self._db, self._source, self._user = db, source, user
        self._seen: dict[Key, QueuedJob] = {}
        self._applied: dict[Key, QueuedJob] = {}
        self._sweep_at_s = 0.0

    def take(self, cluster: str, now: datetime, between: Callable[[], None]) -> bool:
        """Look once; whether anything has happened. Raises SlurmUnavailable when the controller is silent.

        `between` is called after each transaction: it keeps the watcher's lease, or raises, and may ask accounting
        about what has ended. So ends come first, and arrays that begin to wait, perhaps thousands of tasks, last.
        """
        jobs = self._source.queue(user=self._user)
        self._seen = {_key(job): job for job in jobs}
        gone = sorted(self._applied.keys() - self._seen.keys(), key=str)
        changed = [(key, job) for key, job in self._seen.items() if self._applied.get(key) != job]
        changed.sort(key=lambda one: one[1].state == PENDING)
        self._ask_about(self._vanished(cluster, gone), between)
        for key in gone:
            del self._applied[key]
        for start in range(0, len(changed), JOBS_A_TRANSACTION):
            some = changed[start : start + JOBS_A_TRANSACTION]
            with self._db.write() as session:
                apply_queue(session, cluster, [job for _, job in some], now)
            self._applied.update(some)
            between()
        with self._db.write() as session:
            clusters.get(session, cluster).as_of = now
        if time.monotonic() >= self._sweep_at_s:
            self._ask_about(self._unknown(cluster, now), between)
            self._sweep_at_s = time.monotonic() + SWEEP_EVERY_S
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

    def _vanished(self, cluster: str, gone: Sequence[Key]) -> list[str]:
        """Ids of runs of these jobs, which the controller told of before, that are live for us."""
        if not gone:
            return []
        with self._db.read() as session:
            found = [
                one
                for start in range(0, len(gone), GONE_A_TRANSACTION)
                for one in _live_among(session, cluster, gone[start : start + GONE_A_TRANSACTION])
            ]
        return self._ours(found)

    def _unknown(self, cluster: str, now: datetime) -> list[str]:
        """Ids of all runs that are live for us and unknown to the controller."""
        with self._db.read() as session:
            return self._ours(runs.live(session, cluster, before=now - SETTLED_AFTER))

    def _ours(self, found: Sequence[runs.LiveJob]) -> list[str]:
        ours = (one for one in found if self._user is None or one.user == self._user)
        return sorted({one.run_id for one in ours if _key(one) not in self._seen})

    def _ask_about(self, run_ids: Sequence[str], between: Callable[[], None]) -> None:
        """They have ended: accounting must be asked."""
        for start in range(0, len(run_ids), GONE_A_TRANSACTION):
            with self._db.write() as session:  # each locks its runs in one order
                for run in runs.by_ids(session, run_ids[start : start + GONE_A_TRANSACTION]):
                    run.accounting_due = True
            between()


def _key(job: runs.LiveJob | QueuedJob) -> Key:
    return key_of(job.job_id, job.array_job_id, job.array_task_id)


def _live_among(session: Session, cluster: str, keys: Sequence[Key]) -> list[runs.LiveJob]:
    jobs = [job_id for job_id, task in keys if task is None]
    tasks = [(array_id, task) for array_id, task in keys if task is not None]
    wanted = set(keys)
    return [one for one in runs.live_among(session, cluster, jobs, tasks) if _key(one) in wanted]
