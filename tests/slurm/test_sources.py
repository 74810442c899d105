"""What every source must tell, on every version of Slurm, of jobs that are known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from tests.slurm.replay import VERSIONS, Recording
from tracker.errors import SlurmUnavailable
from tracker.slurm.accounting import chains
from tracker.slurm.commands import Commands
from tracker.slurm.limits import limit_in_words
from tracker.slurm.queue import FIELDS, parse_queue
from tracker.slurm.records import QueuedJob, Record
from tracker.slurm.source import Source

PAIRS = [(version, source) for version in VERSIONS for source in Recording(version).sources]

QUEUE = {
    "running_on_gpus": ("RUNNING", None),
    "two_nodes": ("RUNNING", None),
    "of_bob": ("RUNNING", None),
    "requeued": ("RUNNING", None),
    "suspended": ("SUSPENDED", None),
    "held": ("PENDING", "JobHeldUser"),
    "begins_later": ("PENDING", "BeginTime"),
    "depends": ("PENDING", "Dependency"),
    "never": ("PENDING", "DependencyNeverSatisfied"),
    "waits_for_resources": ("PENDING", "Resources"),
    "waits_behind": ("PENDING", "Priority"),
}
ENDS = {
    "completed": ("COMPLETED", 0, 0),
    "failed": ("FAILED", 3, 0),
    "signalled": ("FAILED", 0, 11),
    "steps": ("COMPLETED", 0, 0),
    "timeout": ("TIMEOUT", 0, 0),
    "out_of_memory": ("OUT_OF_MEMORY", 0, 125),
    "cancelled_by_root": ("CANCELLED", 0, 0),
    "cancelled_waiting": ("CANCELLED", 0, 0),
}


def hides_exit_codes(recording: Recording, source: Source, one: Record) -> bool:
    """slurmrestd of 22.05 says 0 of all that no signal ended: it must not be believed."""
    return (recording.version, source.name) == ("22.05", "rest") and (one.exit_code, one.signal) == (None, None)


@pytest.fixture(params=PAIRS, ids="-".join)
def pair(request: pytest.FixtureRequest) -> tuple[Recording, Source]:
    version, source = request.param
    recording = Recording(version)
    return recording, recording.source(source)


def _job(recording: Recording, jobs: Sequence[QueuedJob], name: str) -> QueuedJob:
    (job,) = [one for one in jobs if one.job_id == recording.job_id(name) and one.array_job_id is None]
    return job


def _attempts(recording: Recording, source: Source, name: str) -> list[Record]:
    found = source.records([recording.job_id(name)])
    (chain,) = [one for one in chains(found) if one[0].job_id == recording.job_id(name)]
    return chain


def test_the_configuration(pair: tuple[Recording, Source]) -> None:
    recording, source = pair
    facts = source.facts()
    assert facts.name == recording.facts["cluster"]
    assert facts.slurm_version.startswith(recording.release)
    assert facts.has_accounting is (None if source.name == "rest" else True)


@pytest.mark.parametrize("name", QUEUE)
def test_a_job_of_the_queue(pair: tuple[Recording, Source], name: str) -> None:
    recording, source = pair
    job = _job(recording, source.queue(), name)
    assert (job.name, job.state, job.reason) == (name, *QUEUE[name])
    assert (job.user, job.account) == (("bob", "bio") if name == "of_bob" else ("alice", "phys"))
    assert job.submitted_at
    assert recording.window[0] <= job.submitted_at <= recording.window[1]
    assert (job.started_at is not None) == (job.nodes is not None) == (job.state != "PENDING")
    assert job.ended_at is None


def test_what_a_job_of_the_queue_holds_and_asks_for(pair: tuple[Recording, Source]) -> None:
    recording, source = pair
    jobs = source.queue()
    on_gpus, two, behind = (_job(recording, jobs, name) for name in ("running_on_gpus", "two_nodes", "waits_behind"))
    assert (on_gpus.resources.cpus, on_gpus.resources.gpus, on_gpus.resources.memory_bytes) == (2, 1, 20 << 20)
    assert on_gpus.gpu_count == 1
    assert (two.resources.nodes, two.nodes) == (2, f"{recording.facts['cluster']}-n[1-2]")
    assert (behind.resources.nodes, behind.gpu_count) == (2, 4)
    assert (two.tasks, behind.tasks) == ((2, 2) if source.name == "rest" else (None, None))


def test_what_only_the_controller_knows(pair: tuple[Recording, Source]) -> None:
    recording, source = pair
    jobs = source.queue()
    assert _job(recording, jobs, "requeued").restarts == 1
    assert (_job(recording, jobs, "depends").dependency or "").startswith("afterok:")
    assert _job(recording, jobs, "waits_for_resources").start_estimate_at is not None
    assert (_job(recording, jobs, "waits_behind").priority or 0) > 0
    later = _job(recording, jobs, "begins_later")
    assert later.eligible_at
    assert later.eligible_at > recording.window[1]
    assert _job(recording, jobs, "waits_for_resources").time_limit_s == 1800


def test_tasks_of_an_array(pair: tuple[Recording, Source]) -> None:
    recording, source = pair
    tasks = [job for job in source.queue() if job.array_job_id == recording.job_id("array")]
    running = {job.array_task_id for job in tasks if job.state == "RUNNING"}
    waiting = [job for job in tasks if job.state == "PENDING"]
    assert running == {0, 1}
    assert {job.array_task_id for job in waiting} == set(range(2, 9))
    assert {(job.job_id, job.array_throttle, job.reason) for job in waiting} == {(None, 2, "JobArrayTaskLimit")}
    assert all(job.job_id for job in tasks if job.state == "RUNNING")


def test_components_of_a_het_job(pair: tuple[Recording, Source]) -> None:
    recording, source = pair
    leader = recording.job_id("het")
    parts = [job for job in source.queue() if job.het_job_id == leader]
    assert {job.job_id for job in parts} == {leader, leader + 1}


def test_names_that_want_to_do_harm(pair: tuple[Recording, Source]) -> None:
    recording, source = pair
    jobs = source.queue()
    for name, words in recording.facts["names"].items():
        job = _job(recording, jobs, f"name_{name}")
        assert (job.name, job.user, job.state, job.comment) == (words, "alice", "PENDING", words)
    own = {*recording.facts["jobs"].values(), recording.job_id("het") + 1}
    assert {job.job_id for job in jobs if job.job_id and not job.array_job_id} <= own
    assert {job.user for job in jobs} == {"alice", "bob"}


@pytest.mark.parametrize("name", ENDS)
def test_an_end_in_accounting(pair: tuple[Recording, Source], name: str) -> None:
    recording, source = pair
    (record,) = _attempts(recording, source, name)
    assert record.state == ENDS[name][0]
    assert (record.exit_code, record.signal) == ENDS[name][1:] or hides_exit_codes(recording, source, record)
    assert (record.name, record.user, record.requeued) == (name, "alice", False)
    assert record.ended_at is not None
    assert (record.started_at is None) == (name == "cancelled_waiting")
    assert record.cancelled_by_uid == (0 if name.startswith("cancelled") else None)


def test_attempts_of_a_requeued_job(pair: tuple[Recording, Source]) -> None:
    recording, source = pair
    first, second = _attempts(recording, source, "requeued")
    assert first.requeued
    assert first.ended_at is not None
    assert (second.state, second.ended_at, second.requeued) == ("RUNNING", None, False)


def test_steps_are_not_asked_for(pair: tuple[Recording, Source]) -> None:
    """A job of 10,000 steps is one record, and one row."""
    recording, source = pair
    (record,) = _attempts(recording, source, "steps")
    assert record.held.memory_bytes == 200 << 20
    asked: list[Sequence[str]] = []
    Commands(timeout_s=1, ask=lambda arguments: asked.append(arguments) or "").records([7])  # type: ignore[func-returns-value]
    assert "--allocations" in asked[0]


def test_what_an_ended_job_has_used(pair: tuple[Recording, Source]) -> None:
    """A batch script of 4 MB beside a step of 60 MB, then one that holds nothing."""
    recording, source = pair
    found = {one.job_id: one for one in source.usage([recording.job_id(name) for name in ENDS])}
    used = found[recording.job_id("steps")]
    assert 60_000_000 < (used.memory_bytes or 0) < 80_000_000
    assert 0 < used.cpu_s < 5
    (record,) = _attempts(recording, source, "steps")
    assert used.started_at == record.started_at


def test_both_sources_tell_the_same_usage() -> None:
    for recording in map(Recording, VERSIONS):
        if "rest" not in recording.sources:
            continue
        ids = [recording.job_id(name) for name in ENDS if name != "cancelled_waiting"]
        by_commands, by_rest = (
            {one.job_id: one for one in recording.source(name).usage(ids) if one.job_id in ids}
            for name in ("commands", "rest")
        )
        assert by_commands.keys() == by_rest.keys()
        for job_id, one in by_commands.items():
            other = by_rest[job_id]
            assert one.memory_bytes == other.memory_bytes
            assert one.cpu_s == pytest.approx(other.cpu_s, abs=0.01)


def test_the_limit_that_holds_a_job_back(pair: tuple[Recording, Source]) -> None:
    recording, source = pair
    held = _job(recording, source.queue(), "limited")
    assert (held.state, held.reason) == ("PENDING", "QOSMaxJobsPerUserLimit")
    limits = source.limits(recording.facts["cluster"])
    assert limit_in_words(held, limits) == "MaxJobsPU=1 of the QOS tight"
    assert (limits.qos["tight"]["MaxTRESPU"], limits.qos["tight"]["GrpTRES"]) == ("cpu=6,mem=4G", "gres/gpu=3")
    asks_for_time = replace(held, reason="QOSMaxWallDurationPerJobLimit")
    assert limit_in_words(asks_for_time, limits) == "MaxWall=1-12:00:00 (1d 12h) of the QOS tight"
    in_its_account = replace(held, reason="AssocGrpCpuLimit")
    assert limit_in_words(in_its_account, limits) == "GrpTRES=cpu=500 of the account phys"
    too_long = replace(held, reason="PartitionTimeLimit")
    assert limit_in_words(too_long, limits) == "MaxTime=1-00:00:00 (1d 00h) of the partition gpu"
    assert limit_in_words(replace(held, reason="Resources"), limits) is None


def test_jobs_that_ended_in_a_window(pair: tuple[Recording, Source]) -> None:
    recording, source = pair
    ended = {record.job_id for record in source.ended(*recording.window)}
    assert {recording.job_id(name) for name in ENDS} <= ended
    assert not {recording.job_id(name) for name in ("held", "two_nodes")} & ended


def test_nodes(pair: tuple[Recording, Source]) -> None:
    recording, source = pair
    nodes = {node.name: node for node in source.nodes()}
    assert sorted(nodes) == recording.facts["nodes"]
    first = nodes[recording.facts["nodes"][0]]
    assert (first.state, first.cpus, first.memory_mb, first.gpus) == ("MIXED", 8, 6000, 2)
    assert sum(node.gpus_used for node in nodes.values()) == 1
    assert sorted(first.partitions) == ["gpu", "high", "low", "lowc"]


@pytest.mark.parametrize(
    ("line", "has_accounting"),
    [
        ("AccountingStorageType   = accounting_storage/slurmdbd\n", True),
        ("AccountingStorageType   = accounting_storage/none\n", False),
        ("AccountingStorageType   = (null)\n", False),
        ("AccountingStorageType   = accounting_storage/ctld_relay\n", None),
        ("", None),
    ],
)
def test_only_the_configuration_says_that_there_is_no_accounting(line: str, has_accounting: bool | None) -> None:
    facts = Commands(timeout_s=1, ask=lambda _: f"ClusterName = dev\n{line}").facts()
    assert facts.has_accounting is has_accounting


@pytest.mark.parametrize(("column", "forged"), [("JobID", "n/a"), ("ArrayTaskID", "1,3,5,...")])
def test_a_row_of_squeue_that_cannot_be_read_does_not_make_its_job_vanish(column: str, forged: str) -> None:
    row = {**dict.fromkeys(FIELDS, ""), "JobID": "7", "ArrayJobID": "7", "State": "PENDING", column: forged}
    with pytest.raises(SlurmUnavailable, match="cannot be read"):
        parse_queue("".join(f"{row[name]}|" for name in FIELDS), "|")
