"""pyslurm as a source: libslurm tells the queue; Slurm's commands are asked everything else.

pyslurm's own reading of accounting keeps one record a job id, so that attempts before a requeue are lost; of nodes it
tells neither the GPUs in use nor that they are used in part.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timezone
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from ClusterShell.RangeSet import RangeSet, RangeSetException

from tracker.errors import SlurmUnavailable
from tracker.slurm.commands import Ask, Commands
from tracker.slurm.records import ClusterFacts, QueuedJob, Resources
from tracker.slurm.states import PENDING, RUNNING, SUSPENDED, base_state
from tracker.slurm.values import OutputFacts, given, text

SHARES = ("shard", "mps")
Tell = Callable[[], list[dict[str, Any]]]
"""Gives the jobs as pyslurm tells them (pyslurm_child.py)."""


def installed() -> str | None:
    """The version of the pyslurm that is installed beside us, such as `22.5.3`."""
    try:
        return version("pyslurm")
    except PackageNotFoundError:
        return None


class Pyslurm(Commands):
    """Asks pyslurm where it fits the cluster, else commands: `why_not` tells why, and is None where it is asked."""

    def __init__(self, *, timeout_s: float, ask: Ask | None = None, tell: Tell | None = None, own: str = "") -> None:
        super().__init__(timeout_s=timeout_s, ask=ask)
        self._tell: Tell = tell or partial(asked_of_pyslurm, timeout_s=timeout_s)
        self._own = own or installed() or ""
        self._facts: ClusterFacts | None = None

    @property
    def name(self) -> str:  # type: ignore[override]  # which one is asked is known from the configuration on
        """The word for who is asked."""
        return "commands" if self._facts and self.why_not else "pyslurm"

    def facts(self) -> ClusterFacts:
        """What the configuration says."""
        self._facts = super().facts()
        return self._facts

    @property
    def why_not(self) -> str | None:
        """Why commands are asked instead. Raises SlurmUnavailable when the configuration is not known yet."""
        facts = self._facts or self.facts()
        if _release(self._own) != _release(facts.slurm_version):
            return f"pyslurm {self._own} does not fit Slurm {facts.slurm_version}, which is asked by commands instead."
        if facts.has_accounting is False:
            return "Without accounting the queue must tell exit codes: Slurm is asked by commands, not by pyslurm."
        return None

    def queue(self, *, user: str | None = None) -> list[QueuedJob]:
        """The controller's jobs, ended ones until it forgets them."""
        if self.why_not:
            return super().queue(user=user)
        jobs = _understood(self._tell())
        return [job for job in jobs if user is None or job.user == user]


def asked_of_pyslurm(*, timeout_s: float) -> list[dict[str, Any]]:
    """The jobs as pyslurm tells them. Raises SlurmUnavailable when it fails or takes too long."""
    command = [sys.executable, "-m", "tracker.slurm.pyslurm_child"]
    environ = {**os.environ, "SLURM_BITSTR_LEN": "0"}
    try:
        answer = subprocess.run(
            command,
            capture_output=True,
            timeout=timeout_s,
            env=environ,
            stdin=subprocess.DEVNULL,
            cwd="/",  # with `-m` Python looks for modules where it is started first: that folder may be anybody's
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise SlurmUnavailable(f"pyslurm gave no answer within {timeout_s:g} s.") from None
    if answer.returncode != 0:
        said = answer.stderr.decode("utf-8", "replace").strip().splitlines()
        raise SlurmUnavailable(f"pyslurm failed: {said[-1] if said else f'exit code {answer.returncode}'}.")
    try:
        found: list[dict[str, Any]] = json.loads(answer.stdout)
    except ValueError:
        raise SlurmUnavailable("What pyslurm tells is no JSON.") from None
    return found


def _release(told: str) -> list[int]:
    """`22.05.8` and `22.5.3` are of one release."""
    return [int(part) for part in told.split(".")[:2] if part.isdecimal()]


def _understood(found: list[dict[str, Any]]) -> list[QueuedJob]:
    try:
        return [job for one in found for job in _tasks(one)]
    except (AttributeError, KeyError, TypeError, ValueError, RangeSetException) as problem:
        said = f"{type(problem).__name__}: {problem}"[:200]
        raise SlurmUnavailable(f"What pyslurm tells cannot be understood ({said}).") from problem


def _tasks(one: dict[str, Any]) -> Iterator[QueuedJob]:
    """The jobs of an entry: tasks of an array that have not started share one, such as `7-99`."""
    if not one["array_tasks_waiting"]:
        yield _job(one, (one["array_task_id"] or 0) if one["array_id"] else None)  # pyslurm has no number for task 0
        return
    tasks = [int(task) for task in RangeSet(one["array_tasks_waiting"])]
    first = _job(one, tasks[0])
    yield from (replace(first, array_task_id=task) for task in tasks)


def _job(one: dict[str, Any], task_id: int | None) -> QueuedJob:
    state, nodes = base_state(one["state"] or ""), given(one["allocated_nodes"] or "")
    over = state not in (PENDING, RUNNING, SUSPENDED, None)
    array_job_id = one["array_id"] if task_id is not None else None
    held = _held(one) if one["held"] else _asked(one)
    output = OutputFacts(
        one["id"], array_job_id, task_id, one["user_name"] or "", one["name"] or "", one["batch_host"] or "",
        text(one["working_directory"] or ""),
    )  # fmt: skip
    stdout, stderr = output.paths(one["standard_output"], one["standard_error"]) if nodes else (None, None)
    signal = one["exit_code_signal"] if over else None
    return QueuedJob(
        job_id=one["id"] if nodes or task_id is None or one["id"] != array_job_id else None,
        array_job_id=array_job_id,
        array_task_id=task_id,
        array_throttle=one["array_tasks_parallel"] if task_id is not None and not nodes else None,
        het_job_id=one["heterogeneous_id"] or None,
        name=text(one["name"] or ""),
        user=one["user_name"],
        uid=one["user_id"],
        account=one["account"],
        partition=one["partition"],
        qos=one["qos"],
        state=state,
        reason=given(one["state_reason"] or ""),
        submitted_at=_moment(one["submit_time"]),
        eligible_at=_moment(one["eligible_time"]),
        started_at=_moment(one["start_time"]) if nodes else None,
        ended_at=_moment(one["end_time"]) if over else None,
        start_estimate_at=_moment(one["start_time"]) if state == PENDING else None,
        time_limit_s=one["time_limit"] * 60 if one["time_limit"] else None,
        run_time_s=one["run_time"] if nodes else None,
        nodes=nodes,
        scheduled_nodes=given(one["scheduled_nodes"] or ""),
        gpu_count=held.gpus,
        resources=held,
        restarts=one["requeue_count"] or 0,
        batch_node=one["batch_host"],
        priority=one["priority"],
        # pyslurm takes 128 from codes above: only that of a job that a signal ended, or that completed, is known.
        exit_code=0 if over and (signal or state == "COMPLETED") else None,
        signal=signal if signal or state == "COMPLETED" else None,
        dependency=_dependency(one["dependencies"] or {}),
        reservation=one["reservation"],
        features=",".join(one["constraints"] or ()) or None,
        licenses=",".join(one["licenses"] or ()) or None,
        comment=text(one["comment"] or ""),
        work_dir=text(one["working_directory"] or ""),
        command=text(one["command"] or ""),
        stdout=stdout,
        stderr=stderr,
    )


def _moment(seconds: int | None) -> datetime | None:
    return datetime.fromtimestamp(seconds, tz=timezone.utc) if seconds else None


def _held(one: dict[str, Any]) -> Resources:
    """What a job holds, added up over its nodes."""
    each = list(one["held"].values())
    return Resources(
        cpus=one["cpus"] or 0,
        memory_bytes=sum(on_node["memory"] or 0 for on_node in each) << 20,
        nodes=len(each),
        gpus=sum(_count(on_node["gres"], "gpu") for on_node in each),
        shards=sum(_count(on_node["gres"], *SHARES) for on_node in each),
    )


def _asked(one: dict[str, Any]) -> Resources:
    """What a job that waits asks for. GPUs by `--gpus`, for all of the job together, pyslurm does not tell."""
    cpus, nodes = one["cpus"] or 0, one["num_nodes"] or 0
    memory_mb = one["memory_per_node"] * nodes if one["memory_per_node"] else (one["memory_per_cpu"] or 0) * cpus
    gres = one["gres_per_node"]
    return Resources(
        cpus=cpus,
        memory_bytes=memory_mb << 20,
        nodes=nodes,
        gpus=_count(gres, "gpu") * nodes,
        shards=_count(gres, *SHARES) * nodes,
    )


def _count(gres: dict[str, Any] | None, *kinds: str) -> int:
    """How many of these there are in `{"gpu:a100": 2}`, or with their indices `{"gpu:a100": {"count": "2", …}}`."""
    found = ((name.removeprefix("gres/").partition(":")[0], told) for name, told in (gres or {}).items())
    return sum(int(told["count"] if isinstance(told, dict) else told) for name, told in found if name in kinds)


def _dependency(told: dict[str, Any]) -> str | None:
    parts = (f"{kind}:{':'.join(map(str, jobs))}" for kind, jobs in told.items() if isinstance(jobs, list) and jobs)
    return ",".join(parts) or None
