"""The queue: every job that Slurm's controller knows, ended ones included until it forgets them (MinJobAge)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from tracker.slurm.commands import new_separator, rows, run_command
from tracker.slurm.states import base_state
from tracker.slurm.values import given, gpu_count, limit_s, moment, output_path, whole

FIELDS = (
    "JobID", "ArrayJobID", "ArrayTaskID", "HetJobID", "UserName", "UserID", "Account", "Partition", "State", "Reason",
    "SubmitTime", "StartTime", "EndTime", "TimeLimit", "NodeList", "tres-alloc", "RestartCnt", "BatchHost",
    "Name", "Comment", "WorkDir", "Command", "StdOut", "StdErr",
)  # fmt: skip


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
    time_limit_s: int | None
    nodes: str | None
    gpu_count: int
    restarts: int
    batch_node: str | None
    comment: str | None
    work_dir: str | None
    command: str | None
    stdout: str | None
    stderr: str | None

    @classmethod
    def of(cls, row: dict[str, str]) -> QueuedJob:
        """Understand a row of squeue."""
        state = base_state(row["State"])
        task_id = whole(row["ArrayTaskID"])
        # A task that waits is listed under the array's id; a cancelled one that never started, too.
        started = given(row["NodeList"]) is not None
        job_id = whole(row["JobID"])
        return cls(
            job_id=job_id if started or task_id is None or job_id != whole(row["ArrayJobID"]) else None,
            array_job_id=whole(row["ArrayJobID"]) if task_id is not None else None,
            array_task_id=task_id,
            het_job_id=whole(row["HetJobID"]) or None,
            name=given(row["Name"]),
            user=given(row["UserName"]),
            uid=whole(row["UserID"]),
            account=given(row["Account"]),
            partition=given(row["Partition"]),
            state=state,
            reason=given(row["Reason"]),
            submitted_at=moment(row["SubmitTime"]),
            started_at=moment(row["StartTime"]) if started else None,
            ended_at=moment(row["EndTime"]) if state not in ("PENDING", "RUNNING", "SUSPENDED", None) else None,
            time_limit_s=limit_s(row["TimeLimit"]),
            nodes=given(row["NodeList"]),
            gpu_count=gpu_count(row["tres-alloc"]),
            restarts=whole(row["RestartCnt"]) or 0,
            batch_node=given(row["BatchHost"]),
            comment=given(row["Comment"]),
            work_dir=given(row["WorkDir"]),
            command=given(row["Command"]),
            stdout=_output(row, "StdOut"),
            stderr=_output(row, "StdErr"),
        )


def _output(row: dict[str, str], stream: str) -> str | None:
    facts = {"j": row["JobID"], "J": row["JobID"], "A": row["ArrayJobID"], "u": row["UserName"], "x": row["Name"]}
    facts |= {"N": row["BatchHost"], "n": "0", "t": "0", "s": "batch"}
    if whole(row["ArrayTaskID"]) is not None:
        facts["a"] = row["ArrayTaskID"]
    pattern = given(row[stream])
    if pattern and "a" in facts and pattern.endswith(f"/slurm-{row['JobID']}.out"):
        # squeue 22.05 names the default file of a plain job for array tasks, too; sbatch writes another one.
        pattern = pattern[: -len(f"{row['JobID']}.out")] + "%A_%a.out"
    return output_path(pattern, facts, given(row["WorkDir"])) if pattern else None


def parse_queue(answer: str, separator: str) -> list[QueuedJob]:
    """Understand squeue's answer; rows that name no job are dropped."""
    found = (row for row in rows(answer, separator, FIELDS) if whole(row["JobID"]) is not None)
    return [QueuedJob.of(row) for row in found]


def load_queue(*, user: str | None = None, timeout_s: float) -> list[QueuedJob]:
    """Ask the controller for its jobs, of all users or one. Raises SlurmUnavailable when it is silent."""
    separator = new_separator()
    wanted = ",".join(f"{field}:{separator}" for field in FIELDS)
    whose = ["--user", user] if user else ["--all"]
    answer = run_command(["squeue", "--noheader", "--array", "--states=all", *whose, "-O", wanted], timeout_s=timeout_s)
    return parse_queue(answer, separator)
