"""A watcher, told by a recorded Slurm: what it makes of the answers, how often it asks, and that it is the only one."""

from __future__ import annotations

import logging
import math
import subprocess
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from sqlalchemy import event

from tests.agent_side import ADMIN
from tests.slurm.replay import Recording
from tracker.actions import watch, watch_accounting, watch_queue
from tracker.actions.pace import Pace
from tracker.actions.watch import Watcher
from tracker.errors import Conflict, SlurmUnavailable
from tracker.settings import Settings
from tracker.slurm.records import ClusterFacts, Limits, Node, QueuedJob, Record, Usage
from tracker.store import clusters, runs
from tracker.store.database import Database
from tracker.store.tables import Cluster, Run

RECORDING = Recording("22.05")
CLUSTER = RECORDING.facts["cluster"]


class Slurm:
    """The recorded Slurm, in which things can go wrong."""

    name = "commands"

    def __init__(self) -> None:
        self._source = RECORDING.source("commands")
        self.asked: list[str] = []
        self.windows: list[tuple[datetime, datetime]] = []
        self.has_accounting: bool | None = True
        self.controller_is_silent = False
        self.accounting_is_silent = False
        self.forgotten: set[int] = set()
        self.forgotten_tasks: set[int | None] = set()
        self.while_asked: Callable[[], None] = lambda: None  # of accounting

    def facts(self) -> ClusterFacts:
        self._note("facts", self.controller_is_silent)
        return replace(self._source.facts(), has_accounting=self.has_accounting)

    def queue(self, *, user: str | None = None) -> list[QueuedJob]:
        self._note("queue", self.controller_is_silent)
        queue = [job for job in self._source.queue() if job.job_id not in self.forgotten]
        return [job for job in queue if job.array_task_id not in self.forgotten_tasks - {None}]

    def nodes(self) -> list[Node]:
        self._note("nodes", self.controller_is_silent)
        return self._source.nodes()

    def records(self, job_ids: Iterable[int]) -> list[Record]:
        self._note("records", self.accounting_is_silent)
        self.while_asked()
        return self._source.records(job_ids)

    def ended(self, since: datetime, until: datetime, *, user: str | None = None) -> list[Record]:
        self._note("ended", self.accounting_is_silent)
        self.windows.append((since, until))
        self.while_asked()
        return self._source.ended(since, until)

    def usage(self, job_ids: Iterable[int]) -> list[Usage]:
        self._note("usage", self.accounting_is_silent)
        return self._source.usage(job_ids)

    def limits(self, cluster: str) -> Limits:
        self._note("limits", self.accounting_is_silent)
        return self._source.limits(cluster)

    def _note(self, question: str, is_silent: bool) -> None:
        self.asked.append(question)
        if is_silent:
            raise SlurmUnavailable(f"`{question}` gave no answer within 20 s.")


@pytest.fixture
def slurm() -> Slurm:
    return Slurm()


def watcher_of(db: Database, slurm: Slurm) -> Watcher:
    return Watcher(Settings(database=db.url, watch_users="all"), slurm)


def soon(watcher: Watcher) -> None:
    """Let it be time for every question but that for the configuration, whose recorded clock stands still."""
    watcher._not_before_s = {step: at for step, at in watcher._not_before_s.items() if step == "facts"}
    watcher._accounting_rests_until_s = 0.0


def run_of(db: Database, name: str) -> Run:
    with db.read() as session:
        (run,) = runs.of_cluster(session, CLUSTER, {RECORDING.job_id(name)})
        return run


def cluster_of(db: Database) -> Cluster:
    with db.read() as session:
        found = clusters.find(session, CLUSTER)
        assert found is not None
        return found


def test_one_look_tells_everything(db: Database, slurm: Slurm) -> None:
    watcher_of(db, slurm).look()
    states = {name: run_of(db, name).state for name in ("two_nodes", "held", "suspended", "timeout", "out_of_memory")}
    assert states == {
        "two_nodes": "RUNNING", "held": "PENDING", "suspended": "SUSPENDED", "timeout": "TIMEOUT",
        "out_of_memory": "OUT_OF_MEMORY",
    }  # fmt: skip
    assert run_of(db, "timeout").state_source == "accounting"
    assert run_of(db, "cancelled_by_root").reason == "by root"
    assert slurm.asked == ["facts", "queue", "records", "ended", "nodes", "limits", "usage"]


def test_it_says_what_it_costs_and_what_it_cannot_know(db: Database, slurm: Slurm) -> None:
    watcher_of(db, slurm).look()
    told = cluster_of(db)
    assert (told.source, told.slurm_version, told.lacks, told.problem) == ("commands", "22.05.8", ["hooks"], None)
    assert {kind: count["asked"] for kind, count in told.questions.items()} == dict.fromkeys(set(slurm.asked), 1)
    assert told.questions["queue"]["last_hour"] == 1


def test_without_accounting_the_controller_has_the_last_word(db: Database, slurm: Slurm) -> None:
    slurm.has_accounting = False
    watcher = watcher_of(db, slurm)
    watcher.look()
    assert {"records", "ended"}.isdisjoint(slurm.asked)
    assert cluster_of(db).lacks == ["accounting", "hooks"]
    ended = run_of(db, "failed")
    assert (ended.state, ended.state_source, ended.accounting_due) == ("FAILED", "controller", False)


@pytest.mark.parametrize("has_accounting", [False, None])
def test_without_accounting_what_the_controller_forgot_is_lost(
    db: Database, slurm: Slurm, has_accounting: bool | None
) -> None:
    """Nobody knows whether there is accounting: it is asked, and while it is silent nothing is lost."""
    slurm.has_accounting = has_accounting
    slurm.accounting_is_silent = has_accounting is None
    watcher = watcher_of(db, slurm)
    watcher.look()
    slurm.forgotten = {RECORDING.job_id("two_nodes")}
    with db.write() as session:  # as if it had been seen some time ago
        for run in runs.of_cluster(session, CLUSTER, slurm.forgotten):
            run.updated_at -= timedelta(minutes=1)
            run.created_at -= timedelta(minutes=1)
    soon(watcher)
    watcher.look()
    forgotten = run_of(db, "two_nodes")
    if has_accounting is None:
        assert (forgotten.state, forgotten.accounting_due) == ("RUNNING", True)
    else:
        assert forgotten.state == "LOST"
        assert "has no accounting" in (forgotten.reason or "")


def test_a_waiting_task_that_slurm_forgot_was_cancelled_when_it_knows_the_array(
    db: Database, slurm: Slurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slurm tells of tasks nowhere that were cancelled while others of their array waited."""
    monkeypatch.setattr(watch_accounting, "UNTOLD_AFTER_S", 3600.0)
    watcher = watcher_of(db, slurm)
    watcher.look()
    slurm.forgotten_tasks = {5}
    asked, states = watcher._accounting._asked, []
    for later_s in (0, 0, 3500, 100, 0):
        soon(watcher)
        for run, one in asked.items():
            asked[run] = one._replace(first_s=one.first_s - later_s, again_s=0.0)
        watcher.look()
        states.append(_task(db, 5).state)
    assert states == ["PENDING", "PENDING", "PENDING", "CANCELLED", "CANCELLED"]
    assert (_task(db, 5).state_source, _task(db, 5).accounting_due) == ("controller", False)
    assert _task(db, 6).state == "PENDING"


def _task(db: Database, task: int) -> Run:
    with db.read() as session:
        (run,) = (run for run in runs.of_cluster(session, CLUSTER, (), [RECORDING.job_id("array")], [task]))
        return run


def test_a_second_watcher_stands_by_until_the_first_one_leaves(db: Database, slurm: Slurm) -> None:
    first, second = watcher_of(db, slurm), watcher_of(db, Slurm())
    second._me = "elsewhere:1"
    first.look()
    with pytest.raises(Conflict, match="is watched by process"):
        second.look()
    first.leave()
    second.look()
    with pytest.raises(Conflict, match="process 1 on elsewhere"):
        first.look()


def test_the_place_of_a_watcher_that_was_killed_is_taken_at_once(db: Database, slurm: Slurm) -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    killed, next_one = watcher_of(db, slurm), watcher_of(db, Slurm())
    killed._me = killed._me.rpartition(":")[0] + f":{ended.pid}"
    killed.look()
    next_one.look()
    assert cluster_of(db).watcher == next_one._me


def test_a_silent_controller_is_asked_less_and_less(db: Database, slurm: Slurm) -> None:
    watcher = watcher_of(db, slurm)
    watcher.look()
    slurm.controller_is_silent = True
    with pytest.raises(SlurmUnavailable):
        watcher.look()
    assert cluster_of(db).problem == "`queue` gave no answer within 20 s."
    assert cluster_of(db).questions["queue"]["failed"] == 1


def test_the_window_of_accounting_s_outage_is_read_again(
    db: Database, slurm: Slurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    watcher = watcher_of(db, slurm)
    watcher.look()
    read_until = cluster_of(db).accounted_until
    slurm.accounting_is_silent = True
    soon(watcher)
    watcher.look()
    assert "gave no answer" in (cluster_of(db).problem or "")
    slurm.accounting_is_silent = False
    for _ in range(2):  # slurmctld hands in what it kept only after slurmdbd is back
        soon(watcher)
        watcher.look()
        assert cluster_of(db).accounted_until == read_until
        assert read_until is not None
        assert slurm.windows[-1][0] == read_until - watch_accounting.OVERLAP
    monkeypatch.setattr(watcher._accounting, "_stays_until_s", 0.0)
    soon(watcher)
    watcher.look()
    assert (cluster_of(db).accounted_until or read_until) > read_until
    assert cluster_of(db).problem is None


def test_windows_follow_the_controller_s_clock(db: Database, slurm: Slurm) -> None:
    watcher_of(db, slurm).look()
    told_at = RECORDING.source("commands").facts().told_at
    assert told_at is not None
    ahead = slurm.windows[-1][1] - told_at
    assert timedelta(0) <= ahead < timedelta(minutes=5)


def test_the_pace_slows_down_when_nothing_happens() -> None:
    pace = Pace(quick_s=1.0, idle_s=4.0)
    assert pace.after(ended_s=0, waited_s=0.01, news=True) == 1.0
    assert 1.0 < pace.after(ended_s=10, waited_s=0.01, news=False) < 4.0
    assert pace.after(ended_s=100, waited_s=0.01, news=False) == 4.0
    assert pace.after(ended_s=104, waited_s=0.01, news=True) == 1.0


def test_the_pace_follows_a_slow_controller() -> None:
    pace = Pace(quick_s=1.0, idle_s=4.0)
    assert pace.after(ended_s=0, waited_s=2.0, news=True) == pytest.approx(20.0)


def test_the_pace_doubles_after_each_failure() -> None:
    pace = Pace(quick_s=1.0, idle_s=4.0)
    pauses = [pace.after_failure(began_s=0, ended_s=0) for _ in range(7)]
    assert pauses == [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
    pace.after(ended_s=0, waited_s=0.0, news=True)
    assert pace.after_failure(began_s=0, ended_s=0) == 1.0


def test_ended_runs_are_asked_about_together(db: Database, slurm: Slurm) -> None:
    watcher_of(db, slurm).look()
    with db.read() as session:
        assert len(runs.find(session, ADMIN).items) > 30
    assert slurm.asked.count("records") == 1


def test_a_watcher_that_catches_up_for_long_keeps_its_cluster(
    db: Database, slurm: Slurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "RENEW_AFTER_S", 0.0)
    watcher, held = watcher_of(db, slurm), []
    watcher.look()
    long_ago = slurm.windows[-1][1] - timedelta(days=3)

    def wait_for_a_minute() -> None:
        with db.write() as session:
            cluster = clusters.get(session, CLUSTER)
            held.append(cluster.watched_until is not None and cluster.watched_until > watch.now())
            cluster.watched_until = watch.now() - timedelta(seconds=1)

    with db.write() as session:
        clusters.get(session, CLUSTER).accounted_until = long_ago
    soon(watcher)
    slurm.while_asked = wait_for_a_minute
    watcher.look()
    assert len(held) > 2
    assert all(held)


def test_a_watcher_that_lost_its_cluster_stops_and_writes_nothing(
    db: Database, slurm: Slurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    watcher = watcher_of(db, slurm)

    def lose_it() -> None:
        with db.write() as session:
            cluster = clusters.get(session, CLUSTER)
            cluster.watcher, cluster.watched_until = "elsewhere:1", watch.now() + timedelta(minutes=1)

    slurm.while_asked = lose_it
    with pytest.raises(Conflict, match="by another process"):
        watcher.look()
    assert cluster_of(db).next_look_at is None
    monkeypatch.setattr(watch, "RENEW_AFTER_S", 0.0)
    monkeypatch.setattr(watch_queue, "JOBS_A_TRANSACTION", 5)
    late, told = watcher_of(db, Slurm()), len(RECORDING.source("commands").queue())
    with db.write() as session:
        clusters.get(session, CLUSTER).watcher = None
        for run in runs.of_cluster(session, CLUSTER, range(100)):
            session.delete(run)
    applied = []

    def apply_queue(session: object, cluster: str, jobs: list[QueuedJob], now: datetime) -> None:
        applied.extend(jobs)
        if len(applied) == 10:
            clusters.get(session, cluster).watcher = "elsewhere:1"  # type: ignore[arg-type]

    monkeypatch.setattr(watch_queue, "apply_queue", apply_queue)
    with pytest.raises(Conflict, match="process 1 on elsewhere"):
        late.look()
    assert len(applied) == 10 < told


def test_accounting_between_looks_takes_its_share_of_the_time_and_tells_its_failures(
    db: Database, slurm: Slurm, caplog: pytest.LogCaptureFixture
) -> None:
    watcher = watcher_of(db, slurm)
    watcher.look()
    clock_s = [0.0]

    def take_two_seconds() -> None:
        clock_s[0] += 2.0

    def step() -> None:
        with db.write() as session:
            runs.by_ids(session, [run_of(db, "two_nodes").id])[0].accounting_due = True
        soon(watcher)
        watcher._accounting._asked.clear()
        watcher._accounting_rests_until_s, watcher._next_look_s = 0.0, time.monotonic() + 5.0
        watcher._step()

    watcher._source._clock_s = lambda: clock_s[0]
    slurm.while_asked = take_two_seconds
    began_s = time.monotonic()
    step()
    assert slurm.asked[-1] == "records"
    assert watcher._accounting_rests_until_s >= began_s + 20.0
    assert watcher._next_look_s < began_s + 20.0  # the controller has its own share of the time
    assert not watcher._has_news(watcher._know())
    slurm.accounting_is_silent = True
    with caplog.at_level(logging.WARNING):
        step()
    assert "`records` gave no answer" in (cluster_of(db).problem or "")
    assert "`records` gave no answer" in caplog.text


def test_only_runs_of_jobs_that_vanished_are_loaded(db: Database, slurm: Slurm) -> None:
    watcher = watcher_of(db, slurm)
    watcher.look()
    slurm.forgotten = {RECORDING.job_id("two_nodes")}
    watcher._queue._sweep_at_s = math.inf
    loaded: list[Run] = []

    def note(run: Run, _: object) -> None:
        loaded.append(run)

    event.listen(Run, "load", note)
    try:
        watcher._queue.take(CLUSTER, watch.now(), lambda: None)
    finally:
        event.remove(Run, "load", note)
    assert [run.job_id for run in loaded] == [RECORDING.job_id("two_nodes")]
    assert run_of(db, "two_nodes").accounting_due


def test_all_jobs_may_vanish_at_once(db: Database, slurm: Slurm, monkeypatch: pytest.MonkeyPatch) -> None:
    watcher = watcher_of(db, slurm)
    watcher.look()
    monkeypatch.setattr(watch_queue, "GONE_A_TRANSACTION", 4)
    watcher._queue._sweep_at_s = math.inf
    monkeypatch.setattr(slurm, "queue", lambda **_: [])
    watcher._queue.take(CLUSTER, watch.now(), lambda: None)
    with db.read() as session:
        live = [one for one in runs.find(session, ADMIN, limit=200).items if one.state in ("RUNNING", "PENDING")]
        assert len(live) > 10
        assert all(run.accounting_due for run in live)


def test_a_run_that_no_look_has_seen_is_asked_about_too(db: Database, slurm: Slurm) -> None:
    watcher = watcher_of(db, slurm)
    watcher.look()
    with db.write() as session:
        hooked = runs.of_cluster(session, CLUSTER, {RECORDING.job_id("two_nodes")})[0]
        hooked.job_id, hooked.created_at = 4711, watch.now() - timedelta(minutes=1)
    watcher._queue._sweep_at_s = 0.0
    watcher._queue.take(CLUSTER, watch.now(), lambda: None)
    with db.read() as session:
        assert runs.of_cluster(session, CLUSTER, {4711})[0].accounting_due
