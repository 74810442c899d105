"""Accounting in slurmrestd's words."""

from __future__ import annotations

import pwd
from functools import lru_cache
from typing import Any

from ClusterShell.RangeSet import RangeSet, RangeSetException

from tracker.slurm import json_values as value
from tracker.slurm.records import Record, Usage
from tracker.slurm.states import PENDING, RUNNING, SUSPENDED
from tracker.slurm.usage import Step, most_at_once
from tracker.slurm.values import accounted_name, text


def parse_records(found: list[dict[str, Any]]) -> list[Record]:
    """Understand the list `jobs` of slurmdb. Raises a ValueError and the like for what cannot be read."""
    return [_record(one) for one in found]


def _record(one: dict[str, Any]) -> Record:
    at, said, nodes = one.get("time") or {}, one.get("state") or {}, value.name(one.get("nodes"))
    array, het, comment = one.get("array") or {}, one.get("het") or {}, one.get("comment") or {}
    array_job_id, het_job_id = value.positive(array.get("job_id")), value.positive(het.get("job_id"))
    tres = one.get("tres") or {}
    asked, held = value.resources(tres.get("requested")), value.resources(tres.get("allocated"))
    state = value.state(said.get("current"))
    exit_code, signal = _exit_of(one.get("exit_code"), state)
    requeued = "REQUEUED" in value.words(said.get("current"))
    is_over = requeued or state not in (PENDING, RUNNING, SUSPENDED)
    return Record(
        job_id=value.number(one["job_id"]) or 0,
        array_job_id=array_job_id,
        array_task_ids=_tasks(array) if array_job_id else (),
        het_job_id=het_job_id,
        state=state,
        requeued=requeued,
        cancelled_by_uid=_uid(one.get("kill_request_user")) if state == "CANCELLED" else None,
        exit_code=exit_code,
        signal=signal,
        submitted_at=value.moment(at.get("submission")),
        started_at=value.moment(at.get("start")) if nodes else None,
        # 26.05 gives a job that runs the moment of the question for its end.
        ended_at=value.moment(at.get("end")) if is_over else None,
        nodes=nodes,
        user=value.name(one.get("user")),
        account=value.name(one.get("account")),
        partition=value.name(one.get("partition")),
        eligible_at=value.moment(at.get("eligible")),
        suspended_s=value.number(at.get("suspended")),
        held=held,
        gpu_count=held.gpus if tres.get("allocated") else asked.gpus,
        time_limit_s=value.limit_s(at.get("limit")),
        name=accounted_name(one.get("name") or ""),
        work_dir=text(one.get("working_directory") or ""),
        comment=text(comment.get("job") or ""),
    )


def parse_usage(found: list[dict[str, Any]]) -> list[Usage]:
    """Understand the same list for what its jobs' steps have used."""
    return [_usage(one) for one in found]


def _usage(one: dict[str, Any]) -> Usage:
    steps = [step for step in one.get("steps") or () if isinstance(step, dict)]
    times = [(step.get("time") or {}).get("total") or {} for step in steps]
    cpu_s = sum(
        (value.number(at.get("seconds")) or 0) + (value.number(at.get("microseconds")) or 0) / 1e6 for at in times
    )
    started_at = value.moment((one.get("time") or {}).get("start"))
    return Usage(value.number(one["job_id"]) or 0, started_at, cpu_s, most_at_once(map(_step, steps)))


def _step(step: dict[str, Any]) -> Step:
    at, total = step.get("time") or {}, ((step.get("tres") or {}).get("requested") or {}).get("total") or ()
    began_s = value.number(at.get("start")) or 0
    memory = [value.number(one.get("count")) for one in total if one.get("type") == "mem"]
    name = str((step.get("step") or {}).get("name") or "")
    return Step(name, began_s, value.number(at.get("end")) or began_s, memory[0] if memory else None)


def _tasks(array: dict[str, Any]) -> tuple[int, ...]:
    task_id = value.number(array.get("task_id"))
    waiting = str(array.get("task") or "").strip("[]").partition("%")[0]
    if task_id is not None and not waiting:
        return (task_id,)
    try:
        return tuple(int(one) for one in RangeSet(waiting))
    except RangeSetException:
        return ()


def _exit_of(told: Any, state: str | None) -> tuple[int | None, int | None]:
    """Exit code and signal; what has completed has none but 0."""
    return (0, 0) if state == "COMPLETED" else value.exit_of(told)


def _uid(user: Any) -> int | None:
    """The number of a user of this machine; slurmrestd tells names."""
    try:
        return _uid_of(user) if isinstance(user, str) and user else None
    except KeyError:
        return None


@lru_cache(maxsize=1024)  # a directory of users may be far away
def _uid_of(name: str) -> int:
    return pwd.getpwnam(name).pw_uid
