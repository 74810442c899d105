"""Watch a cluster: one look at Slurm's queue for everybody, and questions to its accounting about what has ended."""

from __future__ import annotations

import dataclasses
import getpass
import logging
import os
import signal
import socket
import time
from collections.abc import Callable
from datetime import timedelta
from types import FrameType

from tracker.actions.pace import MAX_PAUSE_S, Pace
from tracker.actions.watch_accounting import AccountingLook, now
from tracker.actions.watch_queue import QueueLook
from tracker.actions.watch_usage import ask_usage
from tracker.actions.watch_waits import WaitsLook
from tracker.errors import Conflict, SlurmUnavailable, Unavailable
from tracker.settings import Settings
from tracker.slurm.choice import chosen
from tracker.slurm.counted import ACCOUNTING, CONTROLLER, Counted
from tracker.slurm.missing import missing
from tracker.slurm.records import ClusterFacts
from tracker.slurm.source import Source
from tracker.store import clusters
from tracker.store.database import Database

log = logging.getLogger("tracker.watch")

TICK_S = 0.2
NODES_EVERY_S = 5.0
WAITS_EVERY_S = 5.0
USAGE_EVERY_S = 10.0
CATCH_UP_EVERY_S = 60.0
FACTS_EVERY_S = 3600.0
STANDBY_S = 5.0
LEASE = timedelta(seconds=60)
RENEW_AFTER_S = 10.0
"""So often a look that takes long renews the lease. One question takes `slurm_timeout_s` at most."""


class Watcher:
    """Follows the cluster that this machine belongs to, unless another watcher does."""

    def __init__(self, settings: Settings, source: Source | None = None) -> None:
        self._settings = settings
        self._db = Database(settings.database_url)
        self._source = Counted(source or chosen(settings))
        user = watched_user(settings)
        self._only_own = user is not None
        self._queue = QueueLook(self._db, self._source, user)
        self._accounting = AccountingLook(self._db, self._source, self._queue, user)
        self._waits = WaitsLook(self._db, self._source, user)
        self._pace = Pace(settings.watch_interval_s, settings.watch_idle_interval_s)
        self._me = f"{socket.gethostname()}:{os.getpid()}"
        self._facts: ClusterFacts | None = None
        self._skew = timedelta(0)
        self._stands_by = False
        self._next_look_s = 0.0
        self._accounting_rests_until_s = 0.0
        self._renew_at_s = 0.0
        self._problems: dict[str, str] = {}  # of steps that failed when they were taken last
        self._not_before_s: dict[str, float] = {}  # of the steps that are not taken at each look

    def run(self) -> None:
        """Watch until told to stop."""
        signal.signal(signal.SIGTERM, _end)
        fits = False  # a watcher may be started before the server that upgrades the database, or long after
        pause_s = 1.0
        try:
            while True:
                try:
                    if not fits:
                        self._db.check()
                        fits = True
                    self._step()
                    pause_s = 1.0
                except Exception as problem:  # the outermost place of the watcher: it tells what happened, and goes on
                    if isinstance(problem, SlurmUnavailable):
                        log.warning("%s Trying again in %.2g s.", problem, self._next_look_s - time.monotonic())
                    else:
                        self._tell(problem, pause_s)
                        time.sleep(pause_s)
                        pause_s = min(pause_s * 2, MAX_PAUSE_S)
                time.sleep(TICK_S)
        finally:
            self.leave()

    def _tell(self, problem: Exception, pause_s: float) -> None:
        if isinstance(problem, Unavailable):
            log.warning("%s Trying again in %g s.", problem, pause_s)
        else:
            log.exception("trying again in %g s", pause_s)

    def _step(self) -> None:
        try:
            if time.monotonic() >= self._next_look_s:
                self.look()
            elif not self._stands_by and self._facts is not None and self._has_news(self._facts):
                self._ask_between_looks()
        except Conflict as taken:
            if not self._stands_by:
                log.info("%s This one stands by.", taken)
            self._stands_by = True
            self._next_look_s = time.monotonic() + STANDBY_S

    def look(self) -> None:
        """Ask Slurm once and bring all runs up to date.

        Raises SlurmUnavailable when the controller is silent, Conflict when another watcher has this cluster.
        Accounting may be silent alone: the queue is shown all the same, with the problem beside it.
        """
        began_s, waited_s = time.monotonic(), self._source.waited_s(CONTROLLER)
        try:
            news = self._ask()
        except SlurmUnavailable as problem:
            pause_s = self._pace.after_failure(began_s=began_s, ended_s=time.monotonic())
            self._accounting_rests_until_s = began_s + pause_s
            self._plan(began_s + pause_s, str(problem))
            raise
        waited_s = self._source.waited_s(CONTROLLER) - waited_s
        self._plan(began_s + self._pace.after(ended_s=time.monotonic(), waited_s=waited_s, news=news))

    def _ask_between_looks(self) -> None:
        """Ask accounting about what has ended since."""
        self._try("accounting", self._settings.watch_interval_s, self._ask_accounting)
        self._plan(self._next_look_s)

    def leave(self) -> None:
        """Let another watcher have the cluster at once."""
        if self._facts is not None and not self._stands_by:
            with self._db.write() as session:
                clusters.leave(session, self._facts.name, self._me)

    def _ask(self) -> bool:
        """Put all questions that it is time for; whether anything has happened."""
        cluster = self._know().name
        self._take(cluster)
        has_rested = time.monotonic() >= self._accounting_rests_until_s
        news = self._queue.take(cluster, now(), self._between)
        if has_rested:
            news |= self._try("accounting", self._settings.watch_interval_s, self._ask_accounting)
            self._try("catch up", CATCH_UP_EVERY_S, self._catch_up)
        self._try("nodes", NODES_EVERY_S, self._look_at_nodes)
        self._try("waits", WAITS_EVERY_S, self._look_at_waits)
        if has_rested:
            self._try("usage", USAGE_EVERY_S, self._ask_usage)
        return news

    def _know(self) -> ClusterFacts:
        """The cluster's configuration, asked for now and then; while nobody tells it, as it was told last."""
        if self._facts is None:
            self._facts = self._learn()
            self._is_time("facts", FACTS_EVERY_S)
        elif self._is_time("facts", FACTS_EVERY_S):
            try:
                self._facts = self._learn()
            except SlurmUnavailable as problem:
                self._leave_alone("facts", problem)
            else:
                self._problems.pop("facts", None)
        return self._facts

    def _learn(self) -> ClusterFacts:
        asked_at = now()
        facts = self._source.facts()
        self._skew = (facts.told_at or asked_at) - asked_at
        return facts

    def _take(self, cluster: str) -> None:
        """Be the cluster's watcher. Raises Conflict when another one is."""
        with self._db.write() as session:
            found = clusters.get(session, cluster)
            other = found.watcher or ""
            gone = other if _has_ended(other) else ""
            if not clusters.take(session, cluster, self._me, now(), now() + LEASE, gone=gone):
                host, _, process = other.rpartition(":")
                raise Conflict(f"The cluster {cluster} is watched by process {process} on {host} already.")
        self._stands_by = False
        self._renew_at_s = time.monotonic() + RENEW_AFTER_S

    def _between(self) -> None:
        """What must not wait until all of a long queue is applied: the lease, and jobs that have ended."""
        self._renew()
        if self._facts is not None and self._has_news(self._facts):
            self._try("accounting", self._settings.watch_interval_s, self._ask_accounting)

    def _renew(self) -> None:
        """Stay the cluster's watcher while a look takes long. Raises Conflict when another one is by now."""
        if self._facts is not None and time.monotonic() >= self._renew_at_s:
            self._take(self._facts.name)

    def _try(self, step: str, every_s: float, take: Callable[[], bool]) -> bool:
        """Take a step if it is time to; when Slurm does not answer, tell it and leave the step alone for a while.

        What slurmdbd was asked meanwhile, it has its rest after that.
        """
        if not self._is_time(step, every_s):
            return False
        began_s, waited_s = time.monotonic(), self._source.waited_s(ACCOUNTING)
        try:
            news = take()
        except SlurmUnavailable as problem:
            self._leave_alone(step, problem)
            return False
        finally:
            rest_s = self._pace.rest_s(self._source.waited_s(ACCOUNTING) - waited_s)
            self._accounting_rests_until_s = max(self._accounting_rests_until_s, began_s + rest_s)
        self._problems.pop(step, None)
        return news

    def _leave_alone(self, step: str, problem: SlurmUnavailable) -> None:
        log.warning("%s Trying again in %g s.", problem, MAX_PAUSE_S)
        self._problems[step] = str(problem)
        self._not_before_s[step] = time.monotonic() + MAX_PAUSE_S

    def _is_time(self, step: str, every_s: float) -> bool:
        if time.monotonic() < self._not_before_s.get(step, 0.0):
            return False
        self._not_before_s[step] = time.monotonic() + every_s
        return True

    def _plan(self, next_look_s: float, *problems: str) -> None:
        """Say when the next look is, what was wrong and what it cost. Raises Conflict when another watcher looks."""
        self._next_look_s = next_look_s
        if self._facts is None:
            return
        with self._db.write() as session:
            cluster = clusters.watched_by(session, self._facts.name, self._me)
            if cluster is None:
                raise Conflict(f"The cluster {self._facts.name} is watched by another process by now.")
            cluster.problem = " ".join(dict.fromkeys((*problems, *self._problems.values()))) or None
            cluster.next_look_at = now() + timedelta(seconds=max(next_look_s - time.monotonic(), 0.0))
            cluster.watched_until = cluster.next_look_at + clusters.PATIENCE
            cluster.source, cluster.slurm_version = self._source.name, self._facts.slurm_version
            cluster.lacks = missing(self._facts, only_own=self._only_own)
            cluster.questions = self._source.figures()

    def _has_news(self, facts: ClusterFacts) -> bool:
        """Whether a job has ended whose end accounting can be asked about."""
        if time.monotonic() < max(self._accounting_rests_until_s, self._not_before_s.get("accounting", 0.0)):
            return False
        return self._accounting.is_due(facts.name)

    def _ask_accounting(self) -> bool:
        facts = self._know()
        if facts.has_accounting is not False:
            return self._accounting.take(facts.name)
        self._accounting.settle_without(facts.name)
        return False

    def _catch_up(self) -> bool:
        facts = self._know()
        if facts.has_accounting is not False:
            self._accounting.catch_up(facts.name, self._skew, self._renew)
        return False

    def _look_at_waits(self) -> bool:
        self._waits.take(self._know().name, self._queue.jobs(), now() + self._skew, self._renew)
        return False

    def _ask_usage(self) -> bool:
        facts = self._know()
        if facts.has_accounting is not False:
            ask_usage(self._db, self._source, facts.name)
        return False

    def _look_at_nodes(self) -> bool:
        found = self._source.nodes()
        with self._db.write() as session:
            clusters.get(session, self._know().name).nodes = [dataclasses.asdict(node) for node in found]
        return False


def watched_user(settings: Settings) -> str | None:
    """Whose jobs alone are followed; None for those of all users."""
    whose = settings.watch_users or ("all" if os.geteuid() == 0 else "self")
    return getpass.getuser() if whose == "self" else None


def _has_ended(watcher: str) -> bool:
    """Whether it was a process of this machine that is gone: nobody has to wait for its time to run out."""
    host, _, process = watcher.rpartition(":")
    if host != socket.gethostname() or not process.isdecimal():
        return False
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass  # it is somebody else's, and there
    return False


def _end(number: int, frame: FrameType | None) -> None:
    raise SystemExit(0)
