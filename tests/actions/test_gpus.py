"""Who had which GPU when, and GPU-hours: from hooks at the Prolog, closed by Epilogs or accounting."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
from sqlalchemy import func, select

from tests.actions.test_truth import JOB, RECORD, RUNNING, Story, at, story
from tests.agent_side import ADMIN, hook, lines
from tracker.actions.apply_hook import MOST_GPUS
from tracker.actions.apply_queue import apply_queue
from tracker.actions.reconcile import register_ended
from tracker.slurm.records import Resources
from tracker.store import gpu_hours, gpus
from tracker.store.gpu_hours import Hours, Window
from tracker.store.gpus import Asked, Holding
from tracker.store.identity import Identity
from tracker.store.tables import Gpu

__all__ = ["story"]
NEVER = at(10**6)


def prolog(
    job_id: int, seconds: float, indices: str, node: str = "n1", pid: int = 1, **more: Any
) -> tuple[dict[str, object], bytes]:
    said = {"SLURM_JOB_GPUS": indices, "SLURM_JOB_RESTART_COUNT": 0, "SLURMD_NODENAME": node, **more}
    return hook("prolog", job_id, at=at(seconds).timestamp(), pid=pid, **said)


def epilog(
    job_id: int, seconds: float, indices: str, node: str = "n1", pid: int = 2
) -> tuple[dict[str, object], bytes]:
    said = {"SLURM_JOB_GPUS": indices, "SLURMD_NODENAME": node}
    return hook("epilog", job_id, at=at(seconds).timestamp(), pid=pid, **said)


def held(story: Story, viewer: Identity = ADMIN, **asked: Any) -> list[Holding]:
    with story.db.read() as session:
        return gpus.find(session, viewer, Asked(**asked), limit=100).items


def who(found: list[Holding]) -> list[tuple[int | None, str, int, float, float | None]]:
    """Job, node, index, from and to."""
    return [
        (one.job_id, one.node, one.index, _s(one.started_at) or 0.0, _s(one.ended_at)) for one in reversed(found)
    ]  # fmt: skip


def _s(moment: datetime | None) -> float | None:
    return None if moment is None else (moment - at(0)).total_seconds()


def hours(
    story: Story, by: gpu_hours.By = "user", since: float = 0, until: float = 10**6, now: float = 10**6
) -> list[Hours]:
    with story.db.read() as session:
        return gpu_hours.read(session, ADMIN, by, Window(at(since), at(until), at(now)))


def gpu_s(story: Story, **asked: Any) -> dict[str | None, float]:
    """GPU-seconds by key."""
    return {one.key: round(one.gpu_hours * 3600, 3) for one in hours(story, **asked)}


def test_a_gpu_is_held_from_the_prolog_until_accounting_says_the_end(story: Story) -> None:
    story.hooks(prolog(12, 10.1, "0,2"))
    assert who(held(story)) == [(12, "n1", 0, 10.1, None), (12, "n1", 2, 10.1, None)]
    story.hooks(epilog(12, 20.4, "0,2"))
    assert who(held(story))[0] == (12, "n1", 0, 10.1, 20.4)
    story.accounting(replace(RECORD, gpu_count=2))
    assert who(held(story)) == [(12, "n1", 0, 10, 20), (12, "n1", 2, 10, 20)]
    assert gpu_s(story) == {"alice": 20}


def test_accounting_closes_what_no_epilog_closed_and_the_next_job_has_it_then(story: Story) -> None:
    story.hooks(prolog(12, 10.1, "0"))
    story.queue(replace(RUNNING, state="NODE_FAIL", ended_at=at(20)))
    story.accounting(replace(RECORD, state="NODE_FAIL"))
    story.hooks(prolog(13, 30, "0", SLURM_JOB_USER="bob"))
    assert who(held(story)) == [(12, "n1", 0, 10, 20), (13, "n1", 0, 30, None)]
    assert [one.user for one in held(story, since=at(15), until=at(15))] == ["alice"]
    assert held(story, since=at(25), until=at(25)) == []
    assert [one.user for one in held(story, since=at(15), until=NEVER)] == ["bob", "alice"]
    assert [one.user for one in held(story, node="n1", index=0, cluster="dev", since=at(40), until=at(40))] == ["bob"]
    assert held(story, node="n2") == held(story, index=1) == held(story, cluster="other") == []


def test_attempts_of_one_job_hold_their_gpus_apart(story: Story) -> None:
    story.hooks(prolog(12, 10.1, "0"))
    story.queue(replace(JOB, restarts=1, submitted_at=at(21), reason="BeginTime"))
    story.hooks(prolog(12, 40.2, "3", pid=3, SLURM_JOB_RESTART_COUNT=1))
    again = replace(RECORD, submitted_at=at(21), started_at=at(40), ended_at=at(50))
    story.queue(
        replace(RUNNING, state="COMPLETED", restarts=1, submitted_at=at(21), started_at=at(40), ended_at=at(50))
    )
    story.accounting(replace(RECORD, state="PENDING", requeued=True, ended_at=at(21)), again)
    found = held(story)
    assert who(found) == [(12, "n1", 0, 10, 21), (12, "n1", 3, 40, 50)]
    assert [one.attempt for one in found] == [2, 1]
    assert gpu_s(story, by="state") == {"REQUEUED": 11, "COMPLETED": 10}


def test_a_suspended_job_holds_its_gpu_and_its_hours_are_counted_apart(story: Story) -> None:
    story.hooks(prolog(12, 10.1, "0"))
    _look(story, 40, replace(RUNNING, state="SUSPENDED", run_time_s=10))  # since 20
    assert who(held(story, since=at(30), until=at(30))) == [(12, "n1", 0, 10, None)]
    _look(story, 60, replace(RUNNING, state="RUNNING", run_time_s=20))  # since 50
    story.accounting(replace(RECORD, ended_at=at(110), suspended_s=30), live=frozenset())
    story.queue(replace(RUNNING, state="COMPLETED", ended_at=at(110)))
    story.accounting(replace(RECORD, ended_at=at(110), suspended_s=30))
    (all_of_it,) = hours(story)
    assert (round(all_of_it.gpu_hours * 3600), round(all_of_it.suspended_gpu_hours * 3600)) == (70, 30)
    assert gpu_s(story, since=15, until=30) == {"alice": 5}
    assert gpu_s(story, since=20, until=50) == {"alice": 0}


def test_a_suspension_that_nobody_saw_is_spread_over_the_attempt(story: Story) -> None:
    story.queue(replace(RUNNING, state="COMPLETED", ended_at=at(110)))
    story.accounting(replace(RECORD, ended_at=at(110), suspended_s=50, gpu_count=2))
    assert gpu_s(story) == {"alice": 100}
    assert gpu_s(story, until=60) == gpu_s(story, since=60) == {"alice": 50}


def test_suspensions_come_to_what_accounting_tells_however_roughly_they_were_seen(story: Story) -> None:
    story.hooks(prolog(12, 10, "0"))
    suspended = replace(RUNNING, state="SUSPENDED")
    _look(story, 40, suspended)  # by a source that does not tell the time used
    _look(story, 90, RUNNING)
    assert gpu_s(story, now=90) == {"alice": 30}
    story.queue(replace(RUNNING, state="COMPLETED", ended_at=at(110)))
    story.accounting(replace(RECORD, ended_at=at(110), suspended_s=30))
    assert gpu_s(story) == {"alice": 70}
    assert gpu_s(story, since=40, until=90) == {"alice": 20}


def test_what_was_suspended_unseen_takes_nothing_from_a_window_that_was_seen_suspended(story: Story) -> None:
    story.hooks(prolog(12, 10, "0"))
    _look(story, 40, replace(RUNNING, state="SUSPENDED", run_time_s=10))
    _look(story, 60, replace(RUNNING, run_time_s=20))
    story.queue(replace(RUNNING, state="COMPLETED", ended_at=at(110)))
    story.accounting(replace(RECORD, ended_at=at(110), suspended_s=65))
    assert gpu_s(story, since=20, until=50) == {"alice": 0}
    assert gpu_s(story) == {"alice": 35}


def test_a_suspended_job_without_gpus_has_no_gpu_hours(story: Story) -> None:
    _look(story, 40, replace(RUNNING, state="SUSPENDED", run_time_s=10, gpu_count=0))
    assert hours(story, now=60) == []


def test_an_attempt_is_over_when_the_next_one_begins_though_nobody_told_its_end(story: Story) -> None:
    story.hooks(prolog(12, 10, "0"))
    story.queue(RUNNING)
    again = replace(RUNNING, restarts=1, submitted_at=at(30), started_at=at(40))
    story.queue(again)
    story.hooks(prolog(12, 40.1, "0", pid=3, SLURM_JOB_RESTART_COUNT=1))
    assert who(held(story)) == [(12, "n1", 0, 10, 40), (12, "n1", 0, 40, None)]
    assert gpu_s(story, now=100, by="state") == {"REQUEUED": 30, "RUNNING": 60}


def test_a_requeued_job_that_waits_holds_nothing(story: Story) -> None:
    story.hooks(prolog(12, 10, "0"))
    _look(story, 20, replace(RUNNING, state="SUSPENDED", run_time_s=5))
    _look(story, 30, replace(JOB, restarts=1, submitted_at=at(30), reason="BeginTime"))
    assert who(held(story)) == [(12, "n1", 0, 10, 30)]
    again = replace(RUNNING, restarts=1, submitted_at=at(30), started_at=at(40))
    _look(story, 50, replace(again, run_time_s=10))
    _look(story, 70, replace(again, state="SUSPENDED", run_time_s=20))
    (found,) = hours(story, now=80)
    assert (round(found.gpu_hours * 3600), round(found.suspended_gpu_hours * 3600)) == (5 + 20, 15 + 20)


def test_an_epilog_may_be_quicker_than_its_prolog(story: Story) -> None:
    story.hooks(epilog(12, 20.4, "0"))
    story.hooks(prolog(12, 10.1, "0"))
    assert who(held(story)) == [(12, "n1", 0, 10.1, 20.4)]
    assert story.run().started_at == at(10.1)


def test_a_node_has_so_many_gpus_and_no_more(story: Story) -> None:
    story.hooks(prolog(12, 10, ",".join(map(str, range(3000)))), prolog(13, 10, "0-4000000000,-1,\n1,1e9"))
    with story.db.read() as session:
        assert session.scalar(select(func.count()).select_from(Gpu)) == MOST_GPUS


def test_what_the_prolog_said_of_a_gpu_stays(story: Story) -> None:
    story.hooks(prolog(12, 10, "0", CUDA_VISIBLE_DEVICES="GPU-1"))
    named = {"event": "gpus", "gpus": [{"index": 0, "uuid": "GPU-2", "name": "a100"}], "time": at(11).timestamp()}
    story.hooks(lines("dev.12", {"event": "writer", "node": "n1"}, named, own=True))
    assert [(one.uuid, one.type) for one in held(story)] == [("GPU-1", "a100")]
    assert held(story, uuid="GPU-2") == held(story, uuid="MIG-2") == []


def test_without_hooks_gpus_count_by_what_accounting_says(story: Story) -> None:
    with story.db.write() as session:
        register_ended(session, "dev", [replace(RECORD, gpu_count=3)], at(1000))
    assert held(story) == []
    assert gpu_s(story) == {"alice": 30}
    assert gpu_s(story, by="account") == {"phys": 30}
    assert gpu_s(story, since=15, until=18) == {"alice": 9}
    assert gpu_s(story, since=21) == {}


def test_gpus_of_a_node_whose_hooks_never_came_count_too(story: Story) -> None:
    story.hooks(prolog(12, 10.1, "0,1"))
    story.queue(replace(RUNNING, nodes="n[1-2]", gpu_count=4))
    assert gpu_s(story, now=20) == {"alice": 40}
    story.queue(replace(RUNNING, state="COMPLETED", nodes="n[1-2]", ended_at=at(30)))
    story.accounting(replace(RECORD, nodes="n[1-2]", gpu_count=4, ended_at=at(30)))
    assert gpu_s(story) == {"alice": 80}


def test_the_components_of_a_het_job_are_one_run_with_all_their_gpus(story: Story) -> None:
    story.hooks(prolog(12, 10.1, "0", SLURM_HET_JOB_ID=12))
    story.hooks(prolog(13, 10.1, "1", "n2", pid=2, SLURM_HET_JOB_ID=12))
    leader = replace(RUNNING, het_job_id=12, state="COMPLETED", ended_at=at(20))
    story.queue(leader, replace(leader, job_id=13, nodes="n2"))
    record = replace(RECORD, het_job_id=12)
    story.accounting(record, replace(record, job_id=13, nodes="n2", gpu_count=2))
    assert who(held(story)) == [(12, "n1", 0, 10, 20), (12, "n2", 1, 10, 20)]
    assert gpu_s(story) == {"alice": 30}  # one of the second component's is known by its count only


def test_a_node_that_was_given_back_early_did_not_hold_its_gpu_to_the_end(story: Story) -> None:
    story.hooks(prolog(12, 10.1, "0"), prolog(12, 10.1, "0", "n2", pid=2))
    story.hooks(epilog(12, 50, "0", "n2", pid=3), epilog(12, 110, "0", pid=4))
    story.accounting(replace(RECORD, nodes="n1", ended_at=at(110)))
    assert who(held(story)) == [(12, "n1", 0, 10, 110), (12, "n2", 0, 10, 50)]


def test_parts_of_a_gpu_have_names_of_their_own_and_shares_are_no_gpus(story: Story) -> None:
    mig = {"CUDA_VISIBLE_DEVICES": "MIG-5c6d/1/0,GPU-9"}
    story.hooks(prolog(12, 10.1, "1,4", **mig))
    assert [(one.index, one.uuid, one.mig) for one in reversed(held(story))] == [
        (1, None, "MIG-5c6d/1/0"), (4, "GPU-9", None)
    ]  # fmt: skip
    assert [one.index for one in held(story, uuid="MIG-5c6d/1/0")] == [1]
    story.hooks(prolog(13, 12, "0", "n2", CUDA_VISIBLE_DEVICES="0"))
    share = Resources(shards=3)
    story.queue(replace(RUNNING, job_id=13, started_at=at(12), nodes="n2", gpu_count=0, resources=share))
    story.hooks(prolog(14, 12, "0", "n2", CUDA_VISIBLE_DEVICES="; DROP"))
    assert sorted((one.job_id, one.shards) for one in held(story, node="n2")) == [(13, 3), (14, None)]
    (of_all,) = hours(story, until=22, now=22)
    assert round(of_all.gpu_hours * 3600, 1) == round(2 * 11.9 + 10, 1)
    assert round(of_all.shard_hours * 3600) == 30


def test_nobody_sees_who_had_what_but_their_own(story: Story) -> None:
    story.hooks(prolog(12, 10.1, "0"), prolog(13, 11, "0", SLURM_JOB_USER="bob"))
    bob = Identity("bob", "user")
    assert [one.user for one in held(story, bob)] == ["bob"]
    with story.db.read() as session:
        found = gpu_hours.read(session, bob, "user", Window(at(0), at(21), at(21)))
    assert [(one.key, round(one.gpu_hours * 3600)) for one in found] == [("bob", 10)]


@pytest.mark.parametrize("limit", [1, 3])
def test_pages_follow_each_other_without_a_gap(story: Story, limit: int) -> None:
    story.hooks(*(prolog(job, 10 + job // 2, "0,1", pid=job) for job in range(1, 5)))
    with story.db.read() as session:
        found, cursor = [], None
        while True:
            page = gpus.find(session, ADMIN, Asked(), limit=limit, cursor=cursor)
            found += page.items
            cursor = page.next_cursor
            if cursor is None:
                break
    assert found == held(story)
    assert len({(one.run_id, one.index) for one in found}) == 8


def _look(story: Story, seconds: float, *jobs: Any) -> None:
    with story.db.write() as session:
        apply_queue(session, "dev", jobs, at(seconds))
