"""What every source tells of a cluster, in the same words and units, whichever way Slurm was asked.

None says that Slurm did not tell, or that this source cannot know; docs/slurm.md lists who knows what.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True)
class Resources:
    """Trackable resources that a job asked for or holds."""

    cpus: int = 0
    memory_bytes: int = 0
    nodes: int = 0
    gpus: int = 0
    shards: int = 0  # shares of GPUs (gres/shard, gres/mps), which Slurm does not count among GPUs


@dataclass(frozen=True)
class QueuedJob:
    """A job, or a task of an array, as the controller knows it. `state` is None while the job is completing."""

    job_id: int | None  # None for an array's task that has not started: it has no id of its own yet
    array_job_id: int | None
    array_task_id: int | None
    het_job_id: int | None
    name: str | None
    user: str | None
    uid: int | None
    account: str | None
    partition: str | None
    state: str | None
    reason: str | None
    submitted_at: datetime | None
    started_at: datetime | None
    ended_at: datetime | None
    time_limit_s: int | None  # None: no limit, or that of the partition while the job waits
    nodes: str | None
    gpu_count: int
    restarts: int
    batch_node: str | None
    comment: str | None
    work_dir: str | None
    command: str | None
    stdout: str | None  # the files are known from the job's start on
    stderr: str | None  # None: the same as stdout
    resources: Resources = Resources()  # asked for while it waits, held from its start on
    exit_code: int | None = None
    signal: int | None = None
    # Of two that differ in this alone nothing has happened: it is followed by itself (tracker.actions.watch_waits).
    qos: str | None = field(default=None, compare=False)
    eligible_at: datetime | None = field(default=None, compare=False)
    array_throttle: int | None = field(default=None, compare=False)  # tasks of the array that may run at once
    dependency: str | None = field(default=None, compare=False)
    reservation: str | None = field(default=None, compare=False)
    features: str | None = field(default=None, compare=False)
    licenses: str | None = field(default=None, compare=False)
    priority: int | None = field(default=None, compare=False)
    start_estimate_at: datetime | None = field(default=None, compare=False)  # the backfill scheduler's, while it waits
    scheduled_nodes: str | None = field(default=None, compare=False)
    run_time_s: int | None = field(default=None, compare=False)  # time suspended is not counted
    tasks: int | None = field(default=None, compare=False)  # that it asked for (--ntasks)


@dataclass(frozen=True)
class Record:
    """One attempt as accounting keeps it, or a job that never got one. `requeued`: another one follows, or may."""

    job_id: int
    array_job_id: int | None
    array_task_ids: tuple[int, ...]  # more than one for tasks of an array that ended without starting
    het_job_id: int | None
    state: str | None
    requeued: bool
    cancelled_by_uid: int | None
    exit_code: int | None
    signal: int | None
    submitted_at: datetime | None
    started_at: datetime | None
    ended_at: datetime | None
    nodes: str | None
    user: str | None
    account: str | None
    partition: str | None
    gpu_count: int
    time_limit_s: int | None
    name: str | None
    work_dir: str | None
    comment: str | None
    eligible_at: datetime | None = None
    suspended_s: int | None = None  # in all; sacct leaves it out of what has elapsed
    held: Resources = Resources()


@dataclass(frozen=True)
class Usage:
    """What an attempt that ended has used, as its steps tell.

    `memory_bytes`: the most that tasks held, of all tasks and nodes, of steps that ran at the same time added up. So
    it is what was used at most: tasks need not have held their most at once.
    """

    job_id: int
    started_at: datetime | None
    cpu_s: float
    memory_bytes: int | None  # None: nobody measured, as of a job that was over too soon


@dataclass(frozen=True)
class Limits:
    """The limits of accounting and partitions, by Slurm's names of them (sacctmgr, scontrol), without those not set.

    Accounts are named by account, user (empty for the account itself) and partition (empty for all).
    """

    qos: dict[str, dict[str, str]]
    accounts: dict[tuple[str, str, str], dict[str, str]]
    parents: dict[str, str]  # of accounts
    partitions: dict[str, dict[str, str]]


@dataclass(frozen=True)
class Node:
    """A node. `state` is Slurm's long word in capitals, with `*` when the node does not answer."""

    name: str
    state: str
    reason: str | None
    cpus: int
    cpus_alloc: int
    memory_mb: int
    memory_alloc_mb: int
    gpus: int
    gpus_used: int
    partitions: list[str]


@dataclass(frozen=True)
class ClusterFacts:
    """What the cluster's configuration says that matters to a watcher."""

    name: str
    slurm_version: str  # such as `24.11.5`
    has_accounting: bool | None  # None: nobody said that there is none, so it must be asked
    has_prolog: bool | None
    has_epilog: bool | None
    told_at: datetime | None  # by the controller's clock
