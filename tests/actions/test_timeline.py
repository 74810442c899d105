"""The timeline of a run: waits with their reasons, attempts, suspensions; each fact with who told it."""

from __future__ import annotations

from dataclasses import replace

from tests.actions.test_truth import JOB, RECORD, RUNNING, Story, at, epilog, prolog, story
from tests.agent_side import ADMIN, hook
from tracker.actions.apply_queue import apply_queue
from tracker.slurm.records import QueuedJob
from tracker.store import moments, runs, timeline
from tracker.store.timeline import Timeline

__all__ = ["story"]


def look(story: Story, seconds: float, *jobs: QueuedJob) -> None:
    """The queue at a moment."""
    with story.db.write() as session:
        apply_queue(session, "dev", jobs, at(seconds))


def told(story: Story) -> Timeline:
    with story.db.read() as session:
        return timeline.read(session, runs.get(session, ADMIN, "dev:12"))


def facts(story: Story) -> list[tuple[float, str, str | None, str]]:
    """Seconds, what, detail and source."""
    return [((one.at - at(0)).total_seconds(), one.what, one.detail, one.source) for one in told(story).facts]


def spans(story: Story) -> list[tuple[str, float, float | None, int | None, str | None]]:
    """What it did, from when to when, in which attempt, and why it waited."""
    return [
        (
            one.doing, (one.started_at - at(0)).total_seconds(),
            None if one.ended_at is None else (one.ended_at - at(0)).total_seconds(), one.attempt, one.reason,
        )
        for one in told(story).spans
    ]  # fmt: skip


def test_a_job_waits_for_several_reasons_and_each_is_kept_with_its_source(story: Story) -> None:
    look(story, 1, replace(JOB, reason="BeginTime", eligible_at=at(5)))
    look(story, 6, replace(JOB, reason="Priority", eligible_at=at(5)))
    look(story, 7, replace(JOB, reason="Priority", eligible_at=at(5), priority=9))
    look(story, 8, replace(JOB, reason="Resources", eligible_at=at(5)))
    assert spans(story)[-1] == ("pending", 8, None, None, "Resources")
    story.hooks(prolog())
    look(story, 11, RUNNING)
    story.hooks(epilog())
    story.accounting(replace(RECORD, eligible_at=at(5)))
    assert facts(story) == [
        (0, "submitted", None, "accounting"), (1, "pending", "BeginTime", "controller"),
        (5, "eligible", None, "accounting"), (6, "pending", "Priority", "controller"),
        (8, "pending", "Resources", "controller"), (10, "allocated", "n1", "accounting"),
        (10.1, "prolog", "n1", "hook"), (20, "ended", "COMPLETED", "accounting"),
        (20, "final", "COMPLETED", "accounting"), (20.1, "epilog", "n1", "hook"),
    ]  # fmt: skip
    assert spans(story) == [
        ("pending", 0, 1, 1, None), ("pending", 1, 6, 1, "BeginTime"), ("pending", 6, 8, 1, "Priority"),
        ("pending", 8, 10, 1, "Resources"), ("running", 10, 20, 1, None),
    ]  # fmt: skip


def test_reasons_that_alternate_for_days_take_no_more_room(story: Story) -> None:
    for second in range(1, 200):
        look(story, second, replace(JOB, reason="Priority" if second % 2 else "Resources"))
    pending = [one for one in told(story).facts if one.what == "pending"]
    assert len(pending) == moments.MOST_REASONS
    assert (pending[-1].detail, pending[-1].changes) == ("Priority", 199 - moments.MOST_REASONS)


def test_a_requeued_job_waits_again_and_both_attempts_are_there(story: Story) -> None:
    look(story, 11, RUNNING)
    look(story, 22, replace(JOB, restarts=1, submitted_at=at(21), reason="BeginTime"))
    again = {"submitted_at": at(21), "started_at": at(40)}
    look(story, 41, replace(RUNNING, restarts=1, **again))
    first = replace(RECORD, state="PENDING", requeued=True, ended_at=at(21))
    story.accounting(first, replace(RECORD, **again, ended_at=at(50)))
    assert [row for row in facts(story) if row[1] in ("allocated", "ended", "requeued", "final")] == [
        (10, "allocated", "n1", "accounting"), (21, "ended", "REQUEUED", "accounting"),
        (21, "requeued", None, "accounting"), (40, "allocated", "n1", "accounting"),
        (50, "ended", "COMPLETED", "accounting"), (50, "final", "COMPLETED", "accounting"),
    ]  # fmt: skip
    assert spans(story) == [
        ("pending", 0, 10, 1, None), ("running", 10, 21, 1, None), ("pending", 21, 22, 2, None),
        ("pending", 22, 40, 2, "BeginTime"), ("running", 40, 50, 2, None),
    ]  # fmt: skip


def test_a_suspension_is_placed_by_the_time_that_slurm_counts(story: Story) -> None:
    look(story, 11, replace(RUNNING, run_time_s=1))
    look(story, 34, replace(RUNNING, state="SUSPENDED", run_time_s=20))  # since 30, seen 4 s late
    look(story, 60, replace(RUNNING, state="RUNNING", run_time_s=25))  # since 55
    look(story, 72, replace(RUNNING, state="SUSPENDED", run_time_s=35))  # since 70
    assert spans(story)[-1] == ("suspended", 70, None, 1, None)
    story.queue(replace(RUNNING, state="CANCELLED", ended_at=at(80)))
    story.accounting(replace(RECORD, state="CANCELLED", ended_at=at(80), suspended_s=35))
    assert spans(story)[1:] == [
        ("running", 10, 30, 1, None), ("suspended", 30, 55, 1, None), ("running", 55, 70, 1, None),
        ("suspended", 70, 80, 1, None),
    ]  # fmt: skip
    happened = [(row[0], row[1]) for row in facts(story) if row[1] in ("suspended", "resumed")]
    assert happened == [(30, "suspended"), (55, "resumed"), (70, "suspended")]


def test_hooks_of_all_nodes_are_one_fact_of_each_attempt(story: Story) -> None:
    for restarts, began in enumerate((10, 40)):
        for place, node in enumerate(("n1", "n2", "n3")):
            said = {"SLURMD_NODENAME": node, "SLURM_JOB_RESTART_COUNT": restarts, "pid": began + place}
            story.hooks(hook("prolog", 12, at=at(began + place / 10).timestamp(), **said))
            if not restarts:
                story.hooks(hook("epilog", 12, at=at(20 + place / 10).timestamp(), **said))
    mine = [one for one in told(story).facts if one.what in ("prolog", "epilog")]
    assert [((one.at - at(0)).total_seconds(), one.what, one.detail, one.attempt) for one in mine] == [
        (10, "prolog", "3 nodes", 1), (20.2, "epilog", "3 nodes", 1), (40, "prolog", "3 nodes", 2),
    ]  # fmt: skip


def test_a_job_that_is_cancelled_while_it_waits_has_waited_all_the_time(story: Story) -> None:
    look(story, 1, replace(JOB, reason="Priority"))
    look(story, 5, replace(JOB, state="CANCELLED", ended_at=at(4)))
    story.accounting(replace(RECORD, state="CANCELLED", started_at=None, ended_at=at(4), nodes=None))
    assert spans(story) == [("pending", 0, 1, None, None), ("pending", 1, 4, None, "Priority")]
    assert facts(story)[-1] == (4, "final", "CANCELLED", "accounting")


def test_what_two_runs_of_a_task_were_told_becomes_one_timeline(story: Story) -> None:
    task = {"array_job_id": 10, "array_task_id": 3}
    look(story, 1, replace(JOB, job_id=None, **task))
    story.hooks(prolog())
    look(story, 11, replace(RUNNING, **task))
    assert [row[1] for row in facts(story)] == ["submitted", "pending", "allocated", "prolog"]


def test_a_job_that_is_cancelled_after_its_requeue_has_waited_until_then(story: Story) -> None:
    look(story, 12, RUNNING)
    look(story, 21, replace(JOB, restarts=1, submitted_at=at(21), reason="JobHeldUser"))
    look(story, 50, replace(JOB, restarts=1, submitted_at=at(21), state="CANCELLED", ended_at=at(49)))
    first = replace(RECORD, requeued=True, state="PENDING", ended_at=at(21))
    story.accounting(
        first, replace(RECORD, started_at=None, nodes=None, state="CANCELLED", submitted_at=at(21), ended_at=at(49))
    )
    assert spans(story)[1:] == [("running", 10, 21, 1, None), ("pending", 21, 49, None, "JobHeldUser")]
