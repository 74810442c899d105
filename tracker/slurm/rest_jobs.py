"""The controller's jobs and nodes in slurmrestd's words."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from ClusterShell.RangeSet import RangeSet, RangeSetException

from tracker.errors import SlurmUnavailable
from tracker.slurm import json_values as value
from tracker.slurm.records import Node, QueuedJob
from tracker.slurm.states import PENDING, RUNNING, SUSPENDED
from tracker.slurm.values import OutputFacts, gres_gpus, resources, text


def parse_jobs(found: list[dict[str, Any]]) -> list[QueuedJob]:
    """Understand the list `jobs`. Raises SlurmUnavailable or a ValueError for one that cannot be read."""
    return [job for one in found for job in _jobs(one)]


def _jobs(one: dict[str, Any]) -> Iterator[QueuedJob]:
    """The jobs of an entry: tasks of an array that have not started share one, such as `7-99%4`."""
    waiting = (one.get("array_task_string") or "").partition("%")[0]
    task_id = value.number(one.get("array_task_id"))
    if not waiting or task_id is not None:
        yield _job(one, task_id)
        return
    try:
        tasks = list(RangeSet(waiting))
    except RangeSetException:
        raise SlurmUnavailable(
            f"slurmrestd's list of array tasks `{waiting[:80]}` cannot be read: does it run with SLURM_BITSTR_LEN=0?"
        ) from None
    first = _job(one, int(tasks[0]))
    yield from (replace(first, array_task_id=int(task)) for task in tasks)


def _job(one: dict[str, Any], task_id: int | None) -> QueuedJob:
    state, nodes = value.state(one.get("job_state")), value.name(one.get("nodes"))
    over = state not in (PENDING, RUNNING, SUSPENDED, None)
    job_id, array_job_id = value.number(one["job_id"]), value.positive(one.get("array_job_id"))
    if not job_id:
        raise ValueError("a job without an id")
    het_job_id = value.positive(one.get("het_job_id"))
    held = resources(one.get("tres_alloc_str") or one.get("tres_req_str") or "")
    exit_code, signal = value.exit_of(one.get("exit_code")) if over else (None, None)
    user, batch_node = value.name(one.get("user_name")), value.name(one.get("batch_host"))
    work_dir = text(one.get("current_working_directory") or "")
    output = OutputFacts(
        job_id, array_job_id, task_id, user or "", one.get("name") or "", batch_node or "", work_dir
    )  # fmt: skip
    patterns = value.name(one.get("standard_output")), value.name(one.get("standard_error"))
    stdout, stderr = output.paths(*patterns) if nodes else (None, None)
    return QueuedJob(
        job_id=job_id if nodes or task_id is None or job_id != array_job_id else None,
        array_job_id=array_job_id if task_id is not None else None,
        array_task_id=task_id,
        array_throttle=value.positive(one.get("array_max_tasks")) if task_id is not None and not nodes else None,
        het_job_id=het_job_id,
        name=text(one.get("name") or ""),
        user=user,
        uid=value.number(one.get("user_id")),
        account=value.name(one.get("account")),
        partition=value.name(one.get("partition")),
        qos=value.name(one.get("qos")),
        state=state,
        reason=value.name(one.get("state_reason")),
        submitted_at=value.moment(one.get("submit_time")),
        eligible_at=value.moment(one.get("eligible_time")),
        started_at=value.moment(one.get("start_time")) if nodes else None,
        ended_at=value.moment(one.get("end_time")) if over else None,
        start_estimate_at=value.moment(one.get("start_time")) if state == PENDING else None,
        time_limit_s=value.limit_s(one.get("time_limit")),
        run_time_s=_run_time_s(one) if nodes else None,
        nodes=nodes,
        scheduled_nodes=value.name(one.get("scheduled_nodes")),
        gpu_count=held.gpus,
        resources=held,
        restarts=value.number(one.get("restart_cnt")) or 0,
        batch_node=batch_node,
        priority=value.number(one.get("priority")),
        tasks=value.positive(one.get("tasks")),
        exit_code=exit_code,
        signal=signal,
        dependency=value.name(one.get("dependency")),
        reservation=value.name(one.get("resv_name")),
        features=value.name(one.get("features")),
        licenses=value.name(one.get("licenses")),
        comment=text(one.get("comment") or ""),
        work_dir=work_dir,
        command=text(one.get("command") or ""),
        stdout=stdout,
        stderr=stderr,
    )


def _run_time_s(one: dict[str, Any]) -> int | None:
    """Seconds that it has run, suspensions left out, as squeue counts them."""
    before_s = value.number(one.get("pre_sus_time")) or 0
    began_s = value.positive(one.get("suspend_time")) or value.positive(one.get("start_time"))
    if began_s is None or value.state(one.get("job_state")) == SUSPENDED:
        return before_s
    until_s = int(time.time()) if value.state(one.get("job_state")) == RUNNING else value.positive(one.get("end_time"))
    return before_s + max((until_s or began_s) - began_s, 0)


def parse_nodes(found: list[dict[str, Any]]) -> list[Node]:
    """Understand the list `nodes`."""
    return [_node(one) for one in found]


def _node(one: dict[str, Any]) -> Node:
    return Node(
        name=str(one["name"]),
        state=_node_state(one),
        reason=value.name(one.get("reason")),
        cpus=value.number(one.get("cpus")) or 0,
        cpus_alloc=value.number(one.get("alloc_cpus")) or 0,
        memory_mb=value.number(one.get("real_memory")) or 0,
        memory_alloc_mb=value.number(one.get("alloc_memory")) or 0,
        gpus=gres_gpus(one.get("gres") or ""),
        gpus_used=gres_gpus(one.get("gres_used") or ""),
        partitions=[str(name) for name in one.get("partitions") or ()],
    )


def _node_state(one: dict[str, Any]) -> str:
    """The state as sinfo would name it: a base state and what flags make of it."""
    base, *flags = [word.upper() for word in (*value.words(one.get("state")), *value.words(one.get("state_flags")))]
    silent = "*" if "NOT_RESPONDING" in flags else ""
    if "DRAIN" in flags and base != "DOWN":
        base = "DRAINING" if base in ("ALLOCATED", "MIXED") or "COMPLETING" in flags else "DRAINED"
    elif base in ("IDLE", "ALLOCATED", "MIXED"):
        base = next((flag for flag in ("COMPLETING", "MAINTENANCE", "RESERVED") if flag in flags), base)
    return base + silent
