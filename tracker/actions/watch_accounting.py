"""Look at Slurm's accounting: about runs that have ended, many at once, and window by window about all others."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence, Set
from datetime import datetime, timedelta, timezone
from typing import NamedTuple

from tracker.actions.end_beside import end_beside
from tracker.actions.join_tasks import join_tasks
from tracker.actions.reconcile import Key, key_of, reconcile, register_ended, tasks_of
from tracker.actions.watch_queue import QueueLook
from tracker.errors import SlurmUnavailable
from tracker.slurm.records import Record
from tracker.slurm.source import MAX_JOBS_A_QUESTION, Source
from tracker.states import LIVE_STATES, LOST
from tracker.store import clusters, known_runs, runs
from tracker.store.database import Database
from tracker.store.tables import Run

RUNS_A_QUESTION = 1000
"""So many runs are brought up to date by one answer at most; the question names MAX_JOBS_A_QUESTION jobs."""
RUNS_A_TRANSACTION = 200
"""Agents want to write, too, and on SQLite one writes at a time."""
LEAST_PAUSE_S = 0.2
MAX_PAUSE_S = 30.0
FIRST_LOOK_BACK = timedelta(hours=1)
OVERLAP = timedelta(seconds=60)
"""Ends are written to accounting some seconds after they happen."""
MOST_AT_ONCE = timedelta(days=1)
LATE_BY = timedelta(hours=3)
LATE_EVERY_S = 3600.0
"""Once in this time the last LATE_BY are read again: slurmctld keeps what slurmdbd cannot take, and tells it late."""
SETTLES_AFTER_S = 600.0
"""After an outage of accounting its window is read again for so long, while slurmctld hands in what it kept."""
UNTOLD_AFTER_S = 3.0
"""What accounting has to tell is there by then."""


class _Asked(NamedTuple):
    """When accounting was asked first about a run, without a final word, and will be again, after which pause."""

    first_s: float
    again_s: float
    pause_s: float


class AccountingLook:
    """Remembers when to ask about which run again, and how far accounting was read."""

    def __init__(self, db: Database, source: Source, queue: QueueLook, user: str | None) -> None:
        self._db, self._source, self._queue, self._user = db, source, queue, user
        self._asked: dict[str, _Asked] = {}  # by run id
        self._stays_until_s = 0.0  # the window begins where it did until this moment
        self._late_at_s = time.monotonic() + LATE_EVERY_S

    def is_due(self, cluster: str) -> bool:
        """Whether a run has ended whose end accounting can be asked about now."""
        return bool(self._due(cluster))

    def take(self, cluster: str) -> bool:
        """Ask about runs that are due; whether there were any. Raises SlurmUnavailable when accounting is silent."""
        due = self._due(cluster)
        if not due:
            return False
        records = self._source.records(set(due.values()))
        run_ids = list(due)
        for start in range(0, len(run_ids), RUNS_A_TRANSACTION):
            self._apply(cluster, run_ids[start : start + RUNS_A_TRANSACTION], records)
        return True

    def _apply(self, cluster: str, due: Sequence[str], records: Sequence[Record]) -> None:
        """Bring these runs to what accounting has answered, in one transaction."""
        with self._db.write() as session:
            known_runs.reserve(session, {(cluster, one.job_id) for one in records}, due)
            join_tasks(session, cluster, tasks_of(records))
            asked = runs.by_ids(session, due)  # as they are now, not as they were before Slurm was asked
            live = self._queue.live() | {self._requeuing(run) for run in asked}
            reconcile(session, asked, records, live, now())
            self._tell_cancelled(asked, {one.array_job_id for one in records})
            self._give_up(asked, live)
            still_due = {run.id for run in asked if run.accounting_due}
        self._pause(due, still_due)

    def catch_up(self, cluster: str, skew: timedelta, renew: Callable[[], None]) -> None:
        """Register jobs that ended while nobody watched and no hook told; after a long absence a day at a time.

        `skew` is what the controller's clock is ahead of ours: accounting keeps the controller's times. Raises
        SlurmUnavailable when accounting is silent; the next time begins where this one did. `renew` is called after
        each window: it keeps the watcher's lease, or raises.
        """
        with self._db.write() as session:
            since = clusters.get(session, cluster).accounted_until or now() + skew - FIRST_LOOK_BACK
        late = time.monotonic() >= self._late_at_s
        begin = min(since, now() + skew - LATE_BY) if late else since
        while True:
            until = min(now() + skew, begin + MOST_AT_ONCE)
            try:
                records = self._source.ended(begin - OVERLAP, until, user=self._user)
            except SlurmUnavailable:
                self._stays_until_s = time.monotonic() + SETTLES_AFTER_S
                raise
            with self._db.write() as session:
                register_ended(session, cluster, records, now())
                end_beside(session, now())
                if time.monotonic() >= self._stays_until_s:
                    clusters.get(session, cluster).accounted_until = max(since, until)
            renew()
            if until >= now() + skew - OVERLAP:
                break
            begin = until
        if late:
            self._late_at_s = time.monotonic() + LATE_EVERY_S

    def settle_without(self, cluster: str) -> None:
        """Where there is no accounting the controller's word is the last one; what it forgot unseen is lost."""
        with self._db.read() as session:
            due = runs.due(session, cluster, MAX_JOBS_A_QUESTION)
        if not due:
            return
        known = self._queue.known()
        with self._db.write() as session:
            for run in runs.by_ids(session, due):
                is_known = _key_of(run) in known
                if run.state in LIVE_STATES and not is_known:
                    _end(run, LOST, "Slurm forgot it before it was looked at, and has no accounting that tells its end")
                elif run.state_source == "controller" or not is_known:
                    run.accounting_due = False

    def _tell_cancelled(self, asked: Iterable[Run], arrays: Set[int | None]) -> None:
        """Tasks that waited, left the queue, and of which accounting has nothing although it knows their arrays.

        They can only have been cancelled: Slurm forgets such tasks, in the queue and in accounting. One that had
        started would be in the queue (MinJobAge).
        """
        known = self._queue.known()
        arrays = arrays | {array_id for array_id, task in known if task is not None}
        for run in asked:
            waited = run.state == "PENDING" and run.job_id is None and run.array_job_id in arrays
            before = self._asked.get(run.id)
            untold = before is not None and time.monotonic() >= before.first_s + UNTOLD_AFTER_S
            if waited and untold and _key_of(run) not in known:
                _end(run, "CANCELLED", "while it waited; by whom Slurm does not tell")

    def _give_up(self, asked: Iterable[Run], live: set[Key]) -> None:
        """Call runs lost that the controller forgot and that accounting, asked for a minute, still takes for running.

        Slurm calls these runaway jobs: its controller lost its memory while they ran.
        """
        for run in asked:
            forgotten = _key_of(run) not in live
            before = self._asked.get(run.id)
            if run.state in LIVE_STATES and forgotten and before is not None and before.pause_s >= MAX_PAUSE_S:
                _end(run, LOST, "Slurm lost it: see `sacctmgr show runawayjobs`")

    def _requeuing(self, run: Run) -> Key:
        """The run's key if its job is completing an attempt and will wait again: Slurm has counted that already."""
        key = _key_of(run)
        job = self._queue.job(key)
        return key if job is not None and job.state is None and job.restarts > run.restarts else (0, None)

    def _due(self, cluster: str) -> dict[str, int]:
        """The runs to ask about now and their job ids, as many as go into one question; tasks may share their array's.

        News come first: many runs of which accounting tells nothing stand before nobody.
        """
        with self._db.read() as session:
            found = runs.due(session, cluster, RUNS_A_QUESTION + len(self._asked))
            may_ask = [one for one in found if time.monotonic() >= self._not_before_s(one)]
            chosen = sorted(may_ask, key=self._not_before_s)[:RUNS_A_QUESTION]
            job_ids = runs.job_ids(session, chosen)
        of_runs = {one: job_ids[one] for one in chosen if one in job_ids}
        asked = set(list(dict.fromkeys(of_runs.values()))[:MAX_JOBS_A_QUESTION])
        return {one: job_id for one, job_id in of_runs.items() if job_id in asked}

    def _not_before_s(self, run_id: str) -> float:
        before = self._asked.get(run_id)
        return before.again_s if before else 0.0

    def _pause(self, asked: Iterable[str], still_due: set[str]) -> None:
        """Ask again about those that accounting had no final word on, with growing pauses."""
        now_s = time.monotonic()
        for run_id in asked:
            before = self._asked.pop(run_id, None)
            if run_id in still_due:
                pause_s = min(before.pause_s * 2, MAX_PAUSE_S) if before else LEAST_PAUSE_S
                self._asked[run_id] = _Asked(before.first_s if before else now_s, now_s + pause_s, pause_s)


def _key_of(run: Run) -> Key:
    return key_of(run.job_id, run.array_job_id, run.array_task_id)


def _end(run: Run, state: str, reason: str) -> None:
    """End a run of which accounting tells nothing; what it tells later is taken all the same."""
    at = now()
    runs.changes(run, state=state, state_source="controller", reason=reason, ended_at=at, updated_at=at)
    run.accounting_due = False


def now() -> datetime:
    """This moment."""
    return datetime.now(timezone.utc)
