"""Watch a cluster: one look at Slurm's queue for everybody, and questions to its accounting about what has ended."""

from __future__ import annotations

import dataclasses
import getpass
import logging
import os
import time
from datetime import datetime, timedelta, timezone

from tracker.actions.apply_queue import apply_queue
from tracker.actions.reconcile import Key, key_of, reconcile, register_ended
from tracker.errors import SlurmUnavailable, TrackerError
from tracker.settings import Settings
from tracker.slurm import accounting, commands, nodes, queue
from tracker.slurm.queue import QueuedJob
from tracker.slurm.states import FINAL
from tracker.store import clusters, runs
from tracker.store.database import Database, Session
from tracker.store.tables import Run

log = logging.getLogger("tracker.watch")

TICK_S = 0.2
SHARE_OF_TIME = 0.1
"""The part of the time that questions to Slurm may take; when it answers slowly we ask less often."""
NODES_EVERY_S = 5.0
CATCH_UP_EVERY_S = 60.0
FIRST_LOOK_BACK = timedelta(hours=1)
OVERLAP = timedelta(seconds=60)
MAX_PAUSE_S = 30.0


class Watcher:
    """Follows the cluster that this machine belongs to."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._db = Database(settings.database_url)
        self._timeout_s = settings.slurm_timeout_s
        whose = settings.watch_users or ("all" if os.geteuid() == 0 else "self")
        self._user = getpass.getuser() if whose == "self" else None
        self._cluster = ""
        self._seen: dict[Key, QueuedJob] = {}
        self._next_look = self._next_nodes = self._next_catch_up = 0.0
        self._pauses: dict[str, tuple[float, float]] = {}  # run id -> when to ask accounting again, and the pause then

    def run(self) -> None:
        """Watch until told to stop."""
        pause_s = 1.0
        while True:
            try:
                self.tick()
                pause_s = 1.0
            except TrackerError as problem:
                log.warning("%s Trying again in %g s.", problem, pause_s)
                self._report(problem)
                time.sleep(pause_s)
                pause_s = min(pause_s * 2, MAX_PAUSE_S)
            time.sleep(TICK_S)

    def tick(self) -> None:
        """Look if it is time to, or if an ended job waits for its truth."""
        if time.monotonic() >= self._next_look or self._news():
            self.look()

    def look(self) -> None:
        """Ask Slurm once and bring all runs up to date. Raises SlurmUnavailable, DatabaseUnavailable."""
        begun = time.monotonic()
        self._cluster = self._cluster or commands.cluster_name(timeout_s=self._timeout_s)
        self._look_at_queue()
        self._look_at_accounting()
        if begun >= self._next_catch_up:
            self._catch_up()
            self._next_catch_up = begun + CATCH_UP_EVERY_S
        if begun >= self._next_nodes:
            self._look_at_nodes()
            self._next_nodes = begun + NODES_EVERY_S
        took_s = time.monotonic() - begun
        self._next_look = begun + max(self._settings.watch_interval_s, took_s / SHARE_OF_TIME)

    def _news(self) -> bool:
        with self._db.read() as session:
            return any(self._may_ask(run.id) for run in runs.due(session, self._cluster, accounting.MAX_JOBS_A_CALL))

    def _look_at_queue(self) -> None:
        asked_at = _now()
        jobs = queue.load_queue(user=self._user, timeout_s=self._timeout_s)
        seen = {key_of(job.job_id, job.array_job_id, job.array_task_id): job for job in jobs}
        changed = [job for key, job in seen.items() if self._seen.get(key) != job]
        gone = self._seen.keys() - seen.keys() if self._seen else None
        with self._db.write() as session:
            if changed:
                apply_queue(session, self._cluster, changed, asked_at)
            if gone is None or gone:
                self._mark_vanished(session, set(seen), asked_at)
            cluster = clusters.get(session, self._cluster)
            cluster.as_of, cluster.problem = asked_at, None
        self._seen = seen

    def _mark_vanished(self, session: Session, seen: set[Key], asked_at: datetime) -> None:
        """Runs that are live for us and unknown to the controller have ended: accounting must be asked."""
        for run in runs.live(session, self._cluster, before=asked_at - timedelta(seconds=3)):
            ours = self._user is None or run.user == self._user
            if ours and key_of(run.job_id, run.array_job_id, run.array_task_id) not in seen:
                run.accounting_due = True

    def _look_at_accounting(self) -> None:
        with self._db.read() as session:
            due = [run for run in runs.due(session, self._cluster, accounting.MAX_JOBS_A_CALL) if self._may_ask(run.id)]
        ids = {run.job_id or run.array_job_id for run in due} - {None}
        if not ids:
            return
        records = accounting.load_jobs({one for one in ids if one}, timeout_s=self._timeout_s)
        live = {key for key, job in self._seen.items() if self._is_live(job)}
        with self._db.write() as session:
            reserved = {(self._cluster, run.job_id) for run in due if run.job_id}
            runs.reserve(session, reserved)
            asked = [session.merge(run) for run in due]
            live |= {self._requeuing(run) for run in asked}
            reconcile(session, asked, records, live, _now())
            self._give_up(asked, live)
            still_due = {run.id for run in asked if run.accounting_due}
        self._pause([run.id for run in due], still_due)

    def _give_up(self, asked: list[Run], live: set[Key]) -> None:
        """Call runs lost that the controller forgot and that accounting, asked for a minute, still takes for running.

        Slurm calls these runaway jobs: its controller lost its memory while they ran.
        """
        for run in asked:
            forgotten = key_of(run.job_id, run.array_job_id, run.array_task_id) not in live
            if run.state in runs.LIVE_STATES and forgotten and self._pauses.get(run.id, (0, 0))[1] >= MAX_PAUSE_S:
                runs.changes(run, state="LOST", reason="Slurm lost it: see `sacctmgr show runawayjobs`")
                run.accounting_due = False

    def _is_live(self, job: QueuedJob) -> bool:
        return job.state is not None and job.state not in FINAL

    def _requeuing(self, run: Run) -> Key:
        """The run's key if its job is completing an attempt and will wait again."""
        key = key_of(run.job_id, run.array_job_id, run.array_task_id)
        job = self._seen.get(key)
        return key if job is not None and job.state is None and job.restarts > run.restarts else (0, None)

    def _may_ask(self, run_id: str) -> bool:
        return time.monotonic() >= self._pauses.get(run_id, (0.0, 0.0))[0]

    def _pause(self, asked: list[str], still_due: set[str]) -> None:
        """Ask again about those that accounting had no final word on, with growing pauses."""
        for run_id in asked:
            if run_id in still_due:
                pause_s = min(max(self._pauses.get(run_id, (0.0, 0.0))[1] * 2, TICK_S), MAX_PAUSE_S)
                self._pauses[run_id] = (time.monotonic() + pause_s, pause_s)
            else:
                self._pauses.pop(run_id, None)

    def _catch_up(self) -> None:
        """Register jobs that ended while nobody watched and no hook told."""
        now = _now()
        with self._db.read() as session:
            since = clusters.get(session, self._cluster).accounted_until or now - FIRST_LOOK_BACK
        records = accounting.load_ended(since - OVERLAP, now, user=self._user, timeout_s=self._timeout_s)
        with self._db.write() as session:
            register_ended(session, self._cluster, records, now)
            clusters.get(session, self._cluster).accounted_until = now

    def _look_at_nodes(self) -> None:
        found = nodes.load_nodes(timeout_s=self._timeout_s)
        with self._db.write() as session:
            clusters.get(session, self._cluster).nodes = [dataclasses.asdict(node) for node in found]

    def _report(self, problem: TrackerError) -> None:
        if not self._cluster or not isinstance(problem, SlurmUnavailable):
            return
        try:
            with self._db.write() as session:
                clusters.get(session, self._cluster).problem = str(problem)
        except TrackerError as another:
            log.warning("%s", another)


def _now() -> datetime:
    return datetime.now(timezone.utc)
