"""Watch a cluster: one look at Slurm's queue for everybody, and questions to its accounting about what has ended."""

from __future__ import annotations

import dataclasses
import getpass
import logging
import os
import time
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta, timezone

from tracker.actions.apply_queue import apply_queue
from tracker.actions.end_beside import end_beside
from tracker.actions.join_tasks import join_tasks
from tracker.actions.reconcile import Key, key_of, reconcile, register_ended, tasks_of
from tracker.errors import SlurmUnavailable, Unavailable
from tracker.settings import Settings
from tracker.slurm import accounting, commands, nodes, queue
from tracker.slurm.queue import QueuedJob
from tracker.states import LIVE_STATES, LOST
from tracker.store import clusters, runs
from tracker.store.database import Database, Session
from tracker.store.tables import Run

log = logging.getLogger("tracker.watch")

TICK_S = 0.2
SHARE_OF_TIME = 0.1
"""The part of the time that questions to Slurm may take; when it answers slowly we ask less often."""
JOBS_A_TRANSACTION = 100
NODES_EVERY_S = 5.0
CATCH_UP_EVERY_S = 60.0
FIRST_LOOK_BACK = timedelta(hours=1)
OVERLAP = timedelta(seconds=60)
MOST_AT_ONCE = timedelta(days=1)
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
        self._next_look_s = 0.0
        self._not_before_s: dict[str, float] = {}  # of the steps that are not taken at each look
        self._pauses: dict[str, tuple[float, float]] = {}  # run id -> when to ask accounting again, and the pause then

    def run(self) -> None:
        """Watch until told to stop."""
        pause_s = 1.0
        fits = False  # a watcher may be started before the server that upgrades the database, or long after
        while True:
            try:
                if not fits:
                    self._db.check()
                    fits = True
                if time.monotonic() >= self._next_look_s or self._has_news():
                    self.look()
                pause_s = 1.0
            except Exception as problem:  # the outermost place of the watcher: it tells what happened, and goes on
                if isinstance(problem, Unavailable):
                    log.warning("%s Trying again in %g s.", problem, pause_s)
                else:
                    log.exception("trying again in %g s", pause_s)
                time.sleep(pause_s)
                pause_s = min(pause_s * 2, MAX_PAUSE_S)
            time.sleep(TICK_S)

    def look(self) -> None:
        """Ask Slurm once and bring all runs up to date. Raises SlurmUnavailable when the controller is silent.

        Accounting may be silent alone: the queue is shown all the same, with the problem beside it.
        """
        begun_s = time.monotonic()
        self._cluster = self._cluster or commands.cluster_name(timeout_s=self._timeout_s)
        problems: list[str] = []
        try:
            self._look_at_queue()
            self._try("accounting", 0.0, self._look_at_accounting, problems)
            self._try("catch up", CATCH_UP_EVERY_S, self._catch_up, problems)
            self._try("nodes", NODES_EVERY_S, self._look_at_nodes, problems)
        except SlurmUnavailable as problem:
            problems.append(str(problem))
            raise
        finally:
            pause_s = max(self._settings.watch_interval_s, (time.monotonic() - begun_s) / SHARE_OF_TIME)
            self._next_look_s = begun_s + pause_s
            self._report(problems, pause_s)

    def _try(self, step: str, every_s: float, take: Callable[[], None], problems: list[str]) -> None:
        """Take a step if it is time to; when Slurm does not answer, tell it and leave the step alone for a while."""
        if time.monotonic() < self._not_before_s.get(step, 0.0):
            return
        self._not_before_s[step] = time.monotonic() + every_s
        try:
            take()
        except SlurmUnavailable as problem:
            problems.append(str(problem))
            self._not_before_s[step] = time.monotonic() + max(every_s, MAX_PAUSE_S)

    def _report(self, problems: list[str], pause_s: float) -> None:
        with self._db.write() as session:
            cluster = clusters.get(session, self._cluster)
            told_before = bool(cluster.problem) and time.monotonic() < self._not_before_s.get("accounting", 0.0)
            cluster.problem = " ".join(problems) or (cluster.problem if told_before else None)
            cluster.next_look_at = _now() + timedelta(seconds=pause_s)

    def _has_news(self) -> bool:
        """Whether a job has ended whose end accounting can be asked about."""
        if time.monotonic() < self._not_before_s.get("accounting", 0.0):
            return False
        with self._db.read() as session:
            return any(map(self._may_ask, runs.due(session, self._cluster, accounting.MAX_JOBS_A_CALL)))

    def _look_at_queue(self) -> None:
        asked_at = _now()
        jobs = queue.load_queue(user=self._user, timeout_s=self._timeout_s)
        seen = {key_of(job.job_id, job.array_job_id, job.array_task_id): job for job in jobs}
        changed = [job for key, job in seen.items() if self._seen.get(key) != job]
        first_look = not self._seen
        for start in range(0, len(changed), JOBS_A_TRANSACTION):
            with self._db.write() as session:
                apply_queue(session, self._cluster, changed[start : start + JOBS_A_TRANSACTION], asked_at)
            if start + JOBS_A_TRANSACTION < len(changed):
                time.sleep(TICK_S)  # agents want to write, too, and on SQLite one writes at a time
        with self._db.write() as session:
            clusters.get(session, self._cluster).as_of = asked_at
        if first_look or self._seen.keys() - seen.keys():
            with self._db.write() as session:  # one of its own: each locks its runs in one order
                self._mark_vanished(session, set(seen), asked_at)
        self._seen = seen

    def _mark_vanished(self, session: Session, seen: set[Key], asked_at: datetime) -> None:
        """Runs that are live for us and unknown to the controller have ended: accounting must be asked."""
        live = runs.live(session, self._cluster, before=asked_at - timedelta(seconds=3))
        ours = (run for run in live if self._user is None or run.user == self._user)
        gone = [one.id for one in ours if key_of(one.job_id, one.array_job_id, one.array_task_id) not in seen]
        for run in runs.by_ids(session, gone):
            run.accounting_due = True

    def _look_at_accounting(self) -> None:
        with self._db.read() as session:
            due = [one for one in runs.due(session, self._cluster, accounting.MAX_JOBS_A_CALL) if self._may_ask(one)]
            job_ids = runs.job_ids(session, due)
        if not job_ids:
            return
        records = accounting.load_jobs(job_ids, timeout_s=self._timeout_s)
        with self._db.write() as session:
            runs.reserve(session, {(self._cluster, one.job_id) for one in records}, due)
            join_tasks(session, self._cluster, tasks_of(records))
            asked = runs.by_ids(session, due)  # as they are now, not as they were before Slurm was asked
            live = {key for key, job in self._seen.items() if job.state in LIVE_STATES}
            live |= {self._requeuing(run) for run in asked}
            reconcile(session, asked, records, live, _now())
            self._give_up(asked, live)
            still_due = {run.id for run in asked if run.accounting_due}
        self._pause(due, still_due)

    def _give_up(self, asked: Iterable[Run], live: set[Key]) -> None:
        """Call runs lost that the controller forgot and that accounting, asked for a minute, still takes for running.

        Slurm calls these runaway jobs: its controller lost its memory while they ran.
        """
        for run in asked:
            forgotten = key_of(run.job_id, run.array_job_id, run.array_task_id) not in live
            if run.state in LIVE_STATES and forgotten and self._pauses.get(run.id, (0, 0))[1] >= MAX_PAUSE_S:
                reason = "Slurm lost it: see `sacctmgr show runawayjobs`"
                now = _now()
                runs.changes(run, state=LOST, state_source="controller", reason=reason, ended_at=now, updated_at=now)
                run.accounting_due = False

    def _requeuing(self, run: Run) -> Key:
        """The run's key if its job is completing an attempt and will wait again: Slurm has counted that already."""
        key = key_of(run.job_id, run.array_job_id, run.array_task_id)
        job = self._seen.get(key)
        return key if job is not None and job.state is None and job.restarts > run.restarts else (0, None)

    def _may_ask(self, run_id: str) -> bool:
        return time.monotonic() >= self._pauses.get(run_id, (0.0, 0.0))[0]

    def _pause(self, asked: Iterable[str], still_due: set[str]) -> None:
        """Ask again about those that accounting had no final word on, with growing pauses."""
        for run_id in asked:
            if run_id in still_due:
                pause_s = min(max(self._pauses.get(run_id, (0.0, 0.0))[1] * 2, TICK_S), MAX_PAUSE_S)
                self._pauses[run_id] = (time.monotonic() + pause_s, pause_s)
            else:
                self._pauses.pop(run_id, None)

    def _catch_up(self) -> None:
        """Register jobs that ended while nobody watched and no hook told; after a long absence a day at a time."""
        with self._db.write() as session:
            since = clusters.get(session, self._cluster).accounted_until or _now() - FIRST_LOOK_BACK
        while True:
            until = min(_now(), since + MOST_AT_ONCE)
            records = accounting.load_ended(since - OVERLAP, until, user=self._user, timeout_s=self._timeout_s)
            with self._db.write() as session:
                register_ended(session, self._cluster, records, _now())
                end_beside(session, _now())
                clusters.get(session, self._cluster).accounted_until = until
            if until >= _now() - OVERLAP:
                return
            since = until

    def _look_at_nodes(self) -> None:
        found = nodes.load_nodes(timeout_s=self._timeout_s)
        with self._db.write() as session:
            clusters.get(session, self._cluster).nodes = [dataclasses.asdict(node) for node in found]


def _now() -> datetime:
    return datetime.now(timezone.utc)
