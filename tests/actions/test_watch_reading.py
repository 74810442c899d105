"""What a watcher keeps of jobs that wait, and of what ended ones used, told by a recorded Slurm."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import datetime, timedelta, timezone

import pytest

from tests.actions.test_watch import CLUSTER, RECORDING, Slurm, run_of, soon, watcher_of
from tracker.actions import reconcile, watch_waits
from tracker.actions.read_job import Reading, read_job
from tracker.actions.waiting import Awaited, parse_dependency
from tracker.actions.watch_usage import ask_usage
from tracker.slurm.records import QueuedJob
from tracker.store import runs, waits
from tracker.store.database import Database
from tracker.store.identity import Identity
from tracker.store.tables import Usage

ADMIN, ALICE, BOB = Identity("root", "admin"), Identity("alice", "user"), Identity("bob", "user")
NOW = RECORDING.window[1]


@pytest.fixture
def slurm() -> Slurm:
    return Slurm()


def read(db: Database, name: str, viewer: Identity = ADMIN, now: datetime = NOW) -> Reading:
    with db.read() as session:
        run = runs.get(session, viewer, f"{CLUSTER}:{RECORDING.job_id(name)}")
        return read_job(session, viewer, run, now)


def test_a_waiting_job_says_its_place_and_when_slurm_expects_its_start(db: Database, slurm: Slurm) -> None:
    watcher_of(db, slurm).look()
    first, second = read(db, "waits_for_resources").waiting, read(db, "waits_behind").waiting
    assert first is not None
    assert second is not None
    assert first.place is not None
    assert second.place is not None
    assert (first.partition, first.user, first.planned_nodes) == ("gpu", "alice", "rec-n[1-2]")
    assert first.place.place < second.place.place <= second.place.of
    assert first.place.theirs == first.place.of  # all are alice's
    assert first.start_estimate_at is not None
    assert first.start_estimate_at > NOW
    assert first.estimates is None  # nothing has started yet


def test_the_limit_is_told_with_its_value_and_asked_for_once(db: Database, slurm: Slurm) -> None:
    watcher = watcher_of(db, slurm)
    for _ in range(3):
        soon(watcher)
        watcher.look()
    limited = read(db, "limited").waiting
    assert limited is not None
    assert limited.limit == "MaxJobsPU=1 of the QOS tight"
    assert slurm.asked.count("limits") == 1


def test_where_nobody_tells_limits_the_reason_stands_alone(db: Database, slurm: Slurm) -> None:
    slurm.accounting_is_silent = True
    watcher = watcher_of(db, slurm)
    watcher.look()
    limited = read(db, "limited").waiting
    assert limited is not None
    assert limited.limit is None
    slurm.accounting_is_silent = False
    again_s = watcher._waits._limits_at_s
    assert again_s <= time.monotonic() + watch_waits.LIMITS_AGAIN_AFTER_S
    watcher._waits._limits_at_s = 0.0  # a minute later
    soon(watcher)
    watcher.look()
    limited = read(db, "limited").waiting
    assert limited is not None
    assert limited.limit == "MaxJobsPU=1 of the QOS tight"


def test_what_a_job_waits_for_is_named_with_its_state(db: Database, slurm: Slurm) -> None:
    watcher_of(db, slurm).look()
    depends = read(db, "depends").waiting
    assert depends is not None
    (awaited,) = depends.awaited
    assert (awaited.job, awaited.until, awaited.state) == (
        f"{CLUSTER}:{RECORDING.job_id('running_on_gpus')}", "has ended well", "RUNNING",
    )  # fmt: skip
    assert depends.place is None  # it is not its turn, whatever its priority
    later = read(db, "begins_later").waiting
    assert later is not None
    assert later.begins_at is not None
    assert later.begins_at > NOW
    assert later.start_estimate_at is None


def test_of_a_job_that_may_not_be_seen_only_its_name_is_told(db: Database, slurm: Slurm) -> None:
    watcher_of(db, slurm).look()
    with db.write() as session:
        (awaited,) = runs.of_cluster(session, CLUSTER, {RECORDING.job_id("running_on_gpus")})
        awaited.user = "bob"
    depends = read(db, "depends", ALICE).waiting
    assert depends is not None
    name = f"{CLUSTER}:{RECORDING.job_id('running_on_gpus')}"
    assert depends.awaited == [Awaited(name, "has ended well", None, None)]


def test_tasks_that_wait_say_how_many_may_run(db: Database, slurm: Slurm) -> None:
    watcher_of(db, slurm).look()
    with db.read() as session:
        run = runs.get(session, ADMIN, f"{CLUSTER}:{RECORDING.job_id('array')}_5")
        found = read_job(session, ADMIN, run, NOW).waiting
    assert found is not None
    assert found.task_limit == 2


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("afterok:7(unfulfilled)", [("afterok", 7, None)]),
        ("afterok:7:8", [("afterok", 7, None), ("afterok", 8, None)]),
        ("afterany:12_*(unfulfilled)?aftercorr:3_4+10(failed)", [("afterany", 12, "*"), ("aftercorr", 3, "4")]),
        ("after:12+5(unfulfilled),singleton(unfulfilled)", [("after", 12, None)]),
        ("singleton(unfulfilled)", []),
        ("<script>afterok:1", []),
        ("", []),
    ],
)
def test_dependencies_are_read(text: str, told: list[tuple[str, int, str | None]]) -> None:
    assert parse_dependency(text) == told


class MovedSlurm(Slurm):
    """The recorded Slurm, some time later."""

    def __init__(self) -> None:
        super().__init__()
        self.started: dict[str, datetime] = {}

    def queue(self, *, user: str | None = None) -> list[QueuedJob]:
        ids = {RECORDING.job_id(name): at for name, at in self.started.items()}
        return [
            replace(job, state="RUNNING", started_at=ids[job.job_id], nodes="rec-n1", start_estimate_at=None)
            if job.job_id in ids
            else job
            for job in super().queue(user=user)
        ]


def test_jobs_that_start_tell_how_good_slurm_s_word_was(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    slurm = MovedSlurm()
    watcher = watcher_of(db, slurm)
    watcher.look()
    expected = read(db, "waits_for_resources").waiting
    assert expected is not None
    assert expected.start_estimate_at is not None
    started_at = expected.start_estimate_at + timedelta(minutes=7)
    slurm.started = {"waits_for_resources": started_at}
    soon(watcher)
    watcher.look()
    with db.read() as session:
        found = waits.estimates(session, CLUSTER, "gpu", started_at + timedelta(hours=1))
        assert waits.estimates(session, CLUSTER, "gpu", started_at + timedelta(days=31)) is None
    assert found == waits.Estimates(1, 420.0, 420.0, 420.0)
    assert read(db, "waits_for_resources").waiting is None


def test_jobs_that_are_gone_are_forgotten_and_a_new_watcher_goes_on(db: Database, slurm: Slurm) -> None:
    first = watcher_of(db, slurm)
    first.look()
    first.leave()
    slurm.forgotten = {RECORDING.job_id("waits_behind")}
    watcher_of(db, slurm).look()
    with db.read() as session:
        kept = waits.waiting(session, CLUSTER)
    assert (RECORDING.job_id("waits_behind"), waits.NO_TASK) not in kept
    assert kept[RECORDING.job_id("waits_for_resources"), waits.NO_TASK]["first_estimate_at"] is not None


def test_starts_that_are_old_or_too_many_are_forgotten(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waits, "MOST_STARTED", 3)
    now = datetime(2026, 3, 1, tzinfo=timezone.utc)
    row = watch_waits.WaitsLook(db, Slurm(), None)._row(_waiting_job(), None, None, now)
    with db.write() as session:
        waits.put(session, "dev", {(n, -1): {**row, "started_at": now - timedelta(days=10 * n)} for n in range(1, 4)})
        waits.prune(session, "dev", now)
        assert waits.estimates(session, "dev", "gpu", now) is None  # nobody had told when they would start
        waits.put(session, "dev", {(n, -1): {**row, "started_at": now - timedelta(minutes=n)} for n in range(10, 20)})
        waits.prune(session, "dev", now)
        found = session.query(waits.Wait).count()
    assert found == 3


def _waiting_job() -> QueuedJob:
    return next(job for job in Slurm().queue() if job.job_id == RECORDING.job_id("waits_behind"))


def test_a_watcher_of_one_user_s_jobs_tells_no_places(db: Database) -> None:
    row = watch_waits.WaitsLook(db, Slurm(), "alice")._row(_waiting_job(), None, None, NOW)
    assert (row["ranked"], row["estimate_at"] is not None) == (False, True)


def test_nothing_is_written_where_nothing_has_changed(db: Database, slurm: Slurm) -> None:
    watcher = watcher_of(db, slurm)
    watcher.look()
    written: list[object] = []
    watcher._waits._write = lambda *told: written.append(told[1:3])  # type: ignore[method-assign]
    soon(watcher)
    watcher.look()
    assert written == [({}, [])]


def test_what_a_job_held_and_used_is_kept(db: Database, slurm: Slurm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconcile, "WORTH_ASKING", timedelta(seconds=1))
    watcher = watcher_of(db, slurm)
    watcher.look()
    with db.read() as session:
        held = session.get_one(Usage, run_of(db, "running_on_gpus").id)
        assert (held.cpus, held.memory_bytes, held.nodes, held.due) == (2, 20 << 20, 1, False)
        ended = session.get_one(Usage, run_of(db, "steps").id)
        assert (ended.due, ended.cpu_s, ended.memory_bytes) == (False, pytest.approx(0.1, abs=0.2), 200 << 20)
        assert 60_000_000 < (ended.used_memory_bytes or 0) < 80_000_000
    assert slurm.asked.count("usage") == 1
    assert ask_usage(db, slurm, CLUSTER) is False


def test_a_silent_accounting_is_asked_again(db: Database, slurm: Slurm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconcile, "WORTH_ASKING", timedelta(seconds=1))
    watcher = watcher_of(db, slurm)
    watcher._not_before_s["usage"] = float("inf")
    watcher.look()
    with db.read() as session:
        assert session.get_one(Usage, run_of(db, "steps").id).due
    soon(watcher)
    watcher.look()
    with db.read() as session:
        assert not session.get_one(Usage, run_of(db, "steps").id).due
