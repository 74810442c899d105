"""What the controller and accounting say becomes what a run shows, in whatever order it arrives."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta, timezone
from itertools import permutations

import pytest

from tests.agent_side import ADMIN, Agent, hook, lines, points
from tracker.actions.apply_queue import apply_queue
from tracker.actions.join_tasks import join_tasks
from tracker.actions.reconcile import reconcile, register_ended, tasks_of
from tracker.slurm.records import QueuedJob, Record
from tracker.store import params, runs
from tracker.store.database import Database
from tracker.store.tables import Run

T0 = datetime(2026, 1, 1, tzinfo=timezone.utc)


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


JOB = QueuedJob(
    job_id=12,
    array_job_id=None,
    array_task_id=None,
    het_job_id=None,
    name="train",
    user="alice",
    uid=1001,
    account="phys",
    partition="gpu",
    state="PENDING",
    reason="Priority",
    submitted_at=at(0),
    started_at=None,
    ended_at=None,
    time_limit_s=60,
    nodes=None,
    gpu_count=1,
    restarts=0,
    batch_node=None,
    comment=None,
    work_dir="/home/alice",
    command=None,
    stdout=None,
    stderr=None,
)
RUNNING = replace(JOB, state="RUNNING", reason=None, started_at=at(10), nodes="n1", batch_node="n1")
DONE = replace(RUNNING, state="COMPLETED", ended_at=at(20))
RECORD = Record(
    job_id=12,
    array_job_id=None,
    array_task_ids=(),
    het_job_id=None,
    state="COMPLETED",
    requeued=False,
    cancelled_by_uid=None,
    exit_code=0,
    signal=0,
    submitted_at=at(0),
    started_at=at(10),
    ended_at=at(20),
    nodes="n1",
    user="alice",
    account="phys",
    partition="gpu",
    gpu_count=1,
    time_limit_s=60,
    name="train",
    work_dir="/home/alice",
    comment=None,
)


class Story:
    """Things that happen to one cluster."""

    def __init__(self, db: Database) -> None:
        self.db = db

    def queue(self, *jobs: QueuedJob) -> None:
        with self.db.write() as session:
            apply_queue(session, "dev", jobs, at(1000))

    def accounting(self, *records: Record, live: frozenset[tuple[int, int | None]] = frozenset()) -> None:
        with self.db.write() as session:
            join_tasks(session, "dev", tasks_of(records))
            due = runs.by_ids(session, runs.due(session, "dev", 100))
            reconcile(session, due, records, set(live), at(1000))

    def hooks(self, *parts: tuple[dict[str, object], bytes]) -> None:
        Agent(self.db).send(*parts)

    def runs(self) -> list[Run]:
        with self.db.read() as session:
            return runs.find(session, ADMIN).items

    def run(self) -> Run:
        (run,) = self.runs()
        return run


@pytest.fixture
def story(db: Database) -> Story:
    return Story(db)


def prolog(seconds: float = 10.1, pid: int = 1, restarts: int = 0) -> tuple[dict[str, object], bytes]:
    return hook("prolog", 12, at=at(seconds).timestamp(), pid=pid, SLURM_JOB_GPUS="0", SLURM_JOB_RESTART_COUNT=restarts)


def epilog(seconds: float = 20.1, pid: int = 2) -> tuple[dict[str, object], bytes]:
    return hook("epilog", 12, at=at(seconds).timestamp(), pid=pid, SLURM_JOB_GPUS="0")


NEWS = {
    "pending": lambda story: story.queue(JOB),
    "prolog": lambda story: story.hooks(prolog()),
    "running": lambda story: story.queue(RUNNING),
    "points": lambda story: story.hooks(lines("dev.12", *points(3))),
    "epilog": lambda story: story.hooks(epilog()),
    "done": lambda story: story.queue(DONE),
    "accounting": lambda story: story.accounting(RECORD),
}


@pytest.mark.parametrize("order", list(permutations(["prolog", "done", "epilog", "points"])), ids="-".join)
def test_a_run_ends_the_same_in_whatever_order_news_arrives(story: Story, order: tuple[str, ...]) -> None:
    for news in (*order, "accounting"):
        NEWS[news](story)
    run = story.run()
    assert (run.state, run.state_source, run.user, run.name) == ("COMPLETED", "accounting", "alice", "train")
    assert (run.submitted_at, run.started_at, run.ended_at) == (at(0), at(10), at(20))
    assert [(one.number, one.state, one.nodes) for one in run.attempts] == [(1, "COMPLETED", "n1")]
    assert [gpu.index for gpu in run.attempts[0].gpus] == [0]
    assert run.summary[0].count == 3


def test_a_pending_job_waits_with_its_reason_and_runs_without_hooks(story: Story) -> None:
    story.queue(JOB)
    assert (story.run().state, story.run().reason) == ("PENDING", "Priority")
    story.queue(RUNNING)
    assert (story.run().state, story.run().reason, story.run().attempts[0].nodes) == ("RUNNING", None, "n1")


def test_a_queue_asked_before_the_prolog_does_not_stop_the_run(story: Story) -> None:
    story.queue(JOB)
    story.hooks(prolog())
    story.queue(JOB)
    assert story.run().state == "RUNNING"


def test_the_controller_tells_the_exit_code_where_nobody_else_does(story: Story) -> None:
    story.queue(replace(DONE, state="FAILED", exit_code=3, signal=0))
    assert (story.run().state, story.run().exit_code, story.run().signal) == ("FAILED", 3, 0)


def test_a_requeue_of_which_hooks_alone_told_has_both_attempts(story: Story) -> None:
    """The watcher was away: it sees the job when all is over."""
    story.hooks(prolog())
    again = {"submitted_at": at(21), "started_at": at(40), "ended_at": at(50)}
    story.queue(replace(DONE, restarts=1, **again))
    story.accounting(replace(RECORD, state="PENDING", requeued=True), replace(RECORD, **again))
    assert [one.started_at for one in story.run().attempts] == [at(10), at(40)]


def test_accounting_is_not_overruled(story: Story) -> None:
    story.queue(DONE)
    story.accounting(replace(RECORD, state="TIMEOUT"))
    story.queue(DONE)
    assert (story.run().state, story.run().state_source) == ("TIMEOUT", "accounting")


def test_a_requeue_is_another_attempt_of_the_same_run(story: Story) -> None:
    story.queue(RUNNING)
    story.hooks(prolog())
    waiting = replace(JOB, restarts=1, submitted_at=at(21), reason="BeginTime")
    story.queue(waiting)
    assert (story.run().state, story.run().reason, story.run().attempts[0].state) == (
        "PENDING",
        "BeginTime",
        "REQUEUED",
    )
    story.hooks(prolog(40.1, pid=3, restarts=1))
    story.queue(replace(RUNNING, restarts=1, submitted_at=at(21), started_at=at(40)))
    story.queue(replace(DONE, restarts=1, submitted_at=at(21), started_at=at(40), ended_at=at(50)))
    first = replace(RECORD, state="PENDING", requeued=True)
    story.accounting(first, replace(RECORD, submitted_at=at(21), started_at=at(40), ended_at=at(50)))
    run = story.run()
    assert (run.state, run.restarts, run.submitted_at, run.ended_at) == ("COMPLETED", 1, at(0), at(50))
    assert [(one.number, one.state, len(one.gpus)) for one in run.attempts] == [(1, "REQUEUED", 1), (2, "COMPLETED", 1)]


def test_a_prolog_that_overtakes_the_epilog_before_it_begins_another_attempt(story: Story) -> None:
    story.hooks(prolog())
    story.hooks(prolog(22.1, pid=3, restarts=1))
    story.hooks(epilog(20.1))
    run = story.run()
    assert [(one.ended_at, one.state) for one in run.attempts] == [(at(20.1), "REQUEUED"), (None, "RUNNING")]
    assert (run.state, run.ended_at) == ("RUNNING", None)


def test_attempts_are_numbered_by_their_start_when_accounting_knew_one_first(story: Story) -> None:
    story.queue(replace(DONE, restarts=1, submitted_at=at(21), started_at=at(40), ended_at=at(50)))
    first = replace(RECORD, state="PENDING", requeued=True)
    story.accounting(first, replace(RECORD, submitted_at=at(21), started_at=at(40), ended_at=at(50)))
    assert [(one.number, one.started_at) for one in story.run().attempts] == [(1, at(10)), (2, at(40))]


def test_a_job_that_is_completing_has_its_end_while_its_processes_are_being_killed(story: Story) -> None:
    story.queue(RUNNING)
    story.queue(replace(RUNNING, state=None))
    story.accounting(replace(RECORD, state="CANCELLED"))
    assert (story.run().state, story.run().ended_at) == ("CANCELLED", at(20))
    story.queue(replace(RUNNING, state=None))
    assert not story.run().accounting_due


@pytest.mark.parametrize("ended", [False, True])
def test_a_later_attempt_of_which_accounting_tells_first_is_no_run_of_its_own(story: Story, ended: bool) -> None:
    story.queue(RUNNING)
    first = replace(RECORD, state="PREEMPTED", ended_at=at(11))
    if ended:
        story.queue(replace(DONE, state="PREEMPTED", ended_at=at(11)))
        story.accounting(first)
        assert not story.run().accounting_due
    second = replace(RECORD, submitted_at=at(12), started_at=at(20), ended_at=at(21))
    with story.db.write() as session:
        register_ended(session, "dev", [second], at(1000))
    story.accounting(first, second)
    assert [one.state for one in story.run().attempts] == ["PREEMPTED", "COMPLETED"]
    assert (story.run().state, story.run().accounting_due) == ("COMPLETED", False)


def test_accounting_may_not_know_when_a_job_ended_that_never_started(story: Story) -> None:
    """Slurm 24.11, of a job that depends on one that has failed already."""
    story.queue(replace(JOB, state="CANCELLED", reason="DependencyNeverSatisfied", ended_at=at(1)))
    story.accounting(replace(RECORD, state="CANCELLED", started_at=None, ended_at=None, nodes=None))
    run = story.run()
    assert (run.state, run.state_source, run.ended_at) == ("CANCELLED", "accounting", at(1))
    assert not run.accounting_due


def test_a_preempted_job_that_waits_again_is_not_over(story: Story) -> None:
    story.queue(RUNNING)
    story.queue(replace(JOB, restarts=1, submitted_at=at(21)))
    story.accounting(replace(RECORD, state="PREEMPTED"), live=frozenset({(12, None)}))
    assert (story.run().state, story.run().attempts[0].state) == ("PENDING", "PREEMPTED")


def test_a_reused_job_id_is_another_run(story: Story) -> None:
    story.queue(DONE)
    story.accounting(RECORD)
    later = {"submitted_at": at(5000), "started_at": at(5010)}
    story.queue(replace(RUNNING, user="bob", **later))
    assert [(run.user, run.state) for run in story.runs()] == [("bob", "RUNNING"), ("alice", "COMPLETED")]
    story.queue(replace(DONE, user="bob", ended_at=at(5020), **later))
    story.accounting(RECORD, replace(RECORD, state="FAILED", exit_code=1, ended_at=at(5020), user="bob", **later))
    assert [(run.user, run.state) for run in story.runs()] == [("bob", "FAILED"), ("alice", "COMPLETED")]


@pytest.mark.parametrize("is_asked", [True, False])
def test_a_job_id_used_again_soon_after_a_node_failed_is_another_run(story: Story, is_asked: bool) -> None:
    """In accounting it looks like a requeue; the controller has told of a job that was never requeued."""
    failed = replace(RECORD, state="NODE_FAIL")
    story.queue(replace(DONE, state="NODE_FAIL"))
    story.accounting(failed)
    later = {"submitted_at": at(60), "started_at": at(61)}
    again = replace(RECORD, state="FAILED", exit_code=5, ended_at=at(62), **later)
    story.queue(replace(RUNNING, **later))
    if is_asked:
        story.queue(replace(DONE, state="FAILED", ended_at=at(62), **later))
    with story.db.write() as session:
        register_ended(session, "dev", [failed, again], at(1000))
    story.accounting(failed, again)
    newer, older = story.runs()
    assert [(run.state, run.exit_code, len(run.attempts)) for run in (newer, older)] == [
        ("FAILED", 5, 1), ("NODE_FAIL", 0, 1),
    ]  # fmt: skip


TASK = {"array_job_id": 10, "array_task_id": 3}
TASK_RECORD = replace(RECORD, array_job_id=10, array_task_ids=(3,))


def test_a_hook_s_run_and_an_array_s_waiting_task_become_one(story: Story) -> None:
    story.queue(replace(JOB, job_id=None, **TASK))
    waiting = story.run()
    story.hooks(prolog(), lines("dev.12", *points(3)))
    assert len(story.runs()) == 2  # the hook knows the task's own id only
    story.queue(replace(RUNNING, **TASK))
    run = story.run()
    assert (run.id, run.job_id, run.state, run.summary[0].count) == (waiting.id, 12, "RUNNING", 3)
    assert [gpu.index for gpu in run.attempts[0].gpus] == [0]


@pytest.mark.parametrize("told_first", ["accounting", "queue"])
def test_a_task_that_starts_and_ends_between_two_looks_at_the_queue_is_one_run(story: Story, told_first: str) -> None:
    story.queue(replace(JOB, job_id=None, **TASK))
    waiting = story.run()
    story.hooks(prolog(), lines("dev.12", *points(3)), epilog())
    if told_first == "accounting":
        story.accounting(TASK_RECORD)
    story.queue(replace(DONE, **TASK))
    story.accounting(TASK_RECORD)
    run = story.run()
    assert (run.id, run.job_id, run.array_task_id, run.state_source) == (waiting.id, 12, 3, "accounting")
    assert (run.state, run.summary[0].count, run.accounting_due) == ("COMPLETED", 3, False)


def test_two_runs_of_a_task_that_an_older_server_left_become_one(story: Story) -> None:
    story.queue(replace(JOB, job_id=None, **TASK))
    story.hooks(prolog())
    with story.db.write() as session:
        (started,) = (run for run in runs.of_cluster(session, "dev", [12]))
        runs.changes(started, **TASK, submitted_at=at(0), state="COMPLETED", state_source="accounting", ended_at=at(20))
    story.queue(replace(DONE, **TASK))
    assert (story.run().state, story.run().job_id) == ("COMPLETED", 12)


def test_a_task_of_an_array_whose_id_is_used_again_stays_its_own_run(story: Story) -> None:
    story.queue(replace(JOB, job_id=None, **TASK))
    with story.db.write() as session:
        runs.changes(*runs.of_cluster(session, "dev", [], [10]), state="CANCELLED", state_source="accounting")
    story.hooks(prolog(5010))
    story.queue(replace(RUNNING, submitted_at=at(5000), started_at=at(5010), **TASK))
    assert [(run.job_id, run.state) for run in story.runs()] == [(12, "RUNNING"), (None, "CANCELLED")]


def test_jobs_that_ended_unseen_are_found_in_accounting_once(story: Story) -> None:
    tasks = replace(RECORD, job_id=30, array_job_id=30, array_task_ids=(1, 2), state="CANCELLED", cancelled_by_uid=0,
                    started_at=None, nodes=None, exit_code=0)  # fmt: skip
    for _ in range(2):
        with story.db.write() as session:
            register_ended(session, "dev", [RECORD, tasks], at(1000))
    found = {(run.job_id, run.array_task_id): (run.state, run.reason) for run in story.runs()}
    assert found == {
        (12, None): ("COMPLETED", None),
        (None, 1): ("CANCELLED", "by root"),
        (None, 2): ("CANCELLED", "by root"),
    }


def test_a_requeue_seen_while_its_attempt_completes_is_not_missed(story: Story) -> None:
    story.queue(RUNNING)
    story.hooks(prolog())
    story.queue(replace(RUNNING, state=None, restarts=1))  # Slurm counts before the attempt's processes are gone
    story.hooks(epilog())
    story.queue(replace(JOB, restarts=1, submitted_at=at(21)))
    assert story.run().state == "PENDING"


def test_a_prolog_of_a_reused_job_id_begins_another_run_before_the_watcher_knows(story: Story) -> None:
    story.queue(DONE)
    story.accounting(RECORD)
    story.hooks(prolog(5000, pid=9), lines("dev.12", *points(3)))
    newer, older = story.runs()
    assert (newer.state, newer.summary[0].count) == ("RUNNING", 3)
    assert (older.state, len(older.attempts), older.summary) == ("COMPLETED", 1, [])


def test_without_a_watcher_a_requeued_run_runs_again(story: Story) -> None:
    story.hooks(prolog(), epilog())
    assert story.run().state == "COMPLETED"
    story.hooks(prolog(40.1, pid=3, restarts=1))
    run = story.run()
    assert (run.state, run.ended_at, run.exit_code, len(run.attempts)) == ("RUNNING", None, None, 2)


def test_a_lost_run_is_found_when_accounting_comes_late(story: Story) -> None:
    story.queue(RUNNING)
    with story.db.write() as session:
        runs.changes(
            runs.by_ids(session, [story.run().id])[0], state="LOST", state_source="controller", ended_at=at(99)
        )
    with story.db.write() as session:
        register_ended(session, "dev", [RECORD], at(1000))
    story.accounting(RECORD)
    assert (story.run().state, story.run().ended_at) == ("COMPLETED", at(20))


def test_tags_of_a_waiting_task_and_of_its_job_come_together(story: Story) -> None:
    story.queue(replace(JOB, job_id=None, array_job_id=10, array_task_id=3))
    with story.db.write() as session:
        params.set_tags(session, story.run().id, {"stage": "planned", "by": "hand"})
    story.hooks(prolog(), lines("dev.12", {"event": "tags", "tags": {"stage": "running"}}))
    story.queue(replace(RUNNING, array_job_id=10, array_task_id=3))
    assert {tag.key: tag.value for tag in story.run().tags} == {"stage": "running", "by": "hand"}


def test_a_deleted_run_does_not_come_back(story: Story) -> None:
    story.queue(DONE)
    story.accounting(RECORD)
    with story.db.write() as session:
        runs.remove(runs.by_ids(session, [story.run().id])[0], at(100))
    story.queue(DONE)
    story.hooks(lines("dev.12", *points(3)))
    with story.db.write() as session:
        register_ended(session, "dev", [RECORD], at(1000))
    assert story.runs() == []


def test_accounting_that_names_one_node_only_takes_none_away(story: Story) -> None:
    story.queue(replace(RUNNING, nodes="n[1-3]"))
    story.queue(replace(DONE, nodes="n[1-3]"))
    story.accounting(RECORD)
    assert story.run().attempts[0].nodes == "n[1-3]"


def test_why_it_waited_is_not_how_it_ended(story: Story) -> None:
    story.queue(replace(JOB, reason="Resources"))
    with story.db.write() as session:
        register_ended(session, "dev", [replace(RECORD, state="FAILED", exit_code=1)], at(1000))
    story.accounting(replace(RECORD, state="FAILED", exit_code=1))
    assert (story.run().state, story.run().reason) == ("FAILED", None)


def test_the_controller_s_reason_of_the_end_stays(story: Story) -> None:
    story.queue(replace(DONE, state="FAILED", reason="RaisedSignal:11(Segmentation_fault)"))
    story.accounting(replace(RECORD, state="FAILED", signal=11))
    assert story.run().reason == "RaisedSignal:11(Segmentation_fault)"
