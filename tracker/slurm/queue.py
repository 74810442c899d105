"""The queue in squeue's words: every job the controller knows, ended ones until it forgets them (MinJobAge)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ClusterShell.RangeSet import RangeSet, RangeSetException

from tracker.errors import SlurmUnavailable
from tracker.slurm.asking import rows
from tracker.slurm.records import QueuedJob
from tracker.slurm.states import PENDING, RUNNING, SUSPENDED, base_state
from tracker.slurm.values import OutputFacts, exit_of, given, limit_s, moment, resources, text, whole

FIELDS = (
    "JobID", "ArrayJobID", "ArrayTaskID", "HetJobID", "UserName", "UserID", "Account", "Partition", "QOS", "State",
    "Reason", "SubmitTime", "EligibleTime", "StartTime", "EndTime", "TimeLimit", "TimeUsed", "NodeList", "SchedNodes",
    "tres-alloc", "RestartCnt", "BatchHost", "PriorityLong", "exit_code", "NumTasks", "Dependency", "Reservation",
    "Feature", "Licenses", "Name", "Comment", "WorkDir", "Command", "StdOut", "StdErr",
)  # fmt: skip


def parse_queue(answer: str, separator: str) -> list[QueuedJob]:
    """Understand squeue's answer. Raises SlurmUnavailable for a row that cannot be read: its job is not gone."""
    return [job for row in rows(answer, separator, FIELDS) for job in _jobs(row)]


def _jobs(row: dict[str, str]) -> Iterator[QueuedJob]:
    """The jobs of a row: tasks of an array that have not started share one, such as `7-99%4`."""
    ids, _, throttle = row["ArrayTaskID"].partition("%")
    if whole(ids) is None and given(ids):
        try:
            tasks = list(RangeSet(ids))
        except RangeSetException:
            raise SlurmUnavailable(f"squeue's list of array tasks `{ids[:80]}` cannot be read.") from None
        first = _job(row, int(tasks[0]), whole(throttle))
        yield first
        for task_id in tasks[1:]:
            yield replace(first, array_task_id=int(task_id))
    else:
        yield _job(row, whole(ids), whole(throttle))


def _job(row: dict[str, str], task_id: int | None, throttle: int | None) -> QueuedJob:
    if whole(row["JobID"]) is None:
        raise SlurmUnavailable(f"squeue tells of a job with the id `{row['JobID'][:80]}`, which cannot be read.")
    state = base_state(row["State"])
    # A task that waits is listed under the array's id; a cancelled one that never started, too.
    started = given(row["NodeList"]) is not None
    over = state not in (PENDING, RUNNING, SUSPENDED, None)
    job_id, array_job_id = whole(row["JobID"]), whole(row["ArrayJobID"])
    held = resources(row["tres-alloc"])
    exit_code, signal = exit_of(row["exit_code"]) if over else (None, None)
    output = OutputFacts(
        job_id or 0, array_job_id, task_id, row["UserName"], row["Name"], row["BatchHost"], text(row["WorkDir"])
    )
    stdout, stderr = output.paths(given(row["StdOut"]), given(row["StdErr"])) if started else (None, None)
    return QueuedJob(
        job_id=job_id if started or task_id is None or job_id != array_job_id else None,
        array_job_id=array_job_id if task_id is not None else None,
        array_task_id=task_id,
        array_throttle=throttle,
        het_job_id=whole(row["HetJobID"]) or None,
        name=text(row["Name"]),
        user=given(row["UserName"]),
        uid=whole(row["UserID"]),
        account=given(row["Account"]),
        partition=given(row["Partition"]),
        qos=given(row["QOS"]),
        state=state,
        reason=given(row["Reason"]),
        submitted_at=moment(row["SubmitTime"]),
        eligible_at=moment(row["EligibleTime"]),
        started_at=moment(row["StartTime"]) if started else None,
        ended_at=moment(row["EndTime"]) if over else None,
        start_estimate_at=moment(row["StartTime"]) if state == PENDING else None,
        time_limit_s=limit_s(row["TimeLimit"]),
        run_time_s=limit_s(row["TimeUsed"]) if started else None,
        nodes=given(row["NodeList"]),
        scheduled_nodes=given(row["SchedNodes"]),
        gpu_count=held.gpus,
        resources=held,
        restarts=whole(row["RestartCnt"]) or 0,
        batch_node=given(row["BatchHost"]),
        priority=whole(row["PriorityLong"]),
        tasks=whole(row["NumTasks"]) or None,
        exit_code=exit_code,
        signal=signal,
        dependency=given(row["Dependency"]),
        reservation=given(row["Reservation"]),
        features=given(row["Feature"]),
        licenses=given(row["Licenses"]),
        comment=text(row["Comment"]),
        work_dir=text(row["WorkDir"]),
        command=text(row["Command"]),
        stdout=stdout,
        stderr=stderr,
    )
