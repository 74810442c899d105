"""Accounting: what slurmdbd keeps of jobs, one record per allocation. It tells the truth about their ends."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from ClusterShell.RangeSet import RangeSet, RangeSetException

from tracker.slurm.commands import new_separator, rows, run_command
from tracker.slurm.states import base_state
from tracker.slurm.values import given, gpu_count, moment, whole

FIELDS = (
    "JobID", "JobIDRaw", "State", "ExitCode", "Submit", "Start", "End", "NodeList", "User", "UID", "Account",
    "Partition", "AllocTRES", "ReqTRES", "TimelimitRaw", "JobName", "WorkDir", "Comment",
)  # fmt: skip
_ENDED = "CD,F,CA,TO,NF,PR,OOM,RQ,DL,BF"
_REQUEUE_WITHIN = timedelta(minutes=5)
MAX_JOBS_A_CALL = 200


@dataclass(frozen=True)
class Record:
    """One allocation of a job, or a job that never got one. `requeued`: another allocation follows, or may."""

    job_id: int
    array_job_id: int | None
    array_task_ids: tuple[int, ...]  # more than one for tasks of an array that ended without starting
    het_job_id: int | None
    state: str | None
    requeued: bool
    cancelled_by_uid: int | None
    exit_code: int
    signal: int
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

    @classmethod
    def of(cls, row: dict[str, str]) -> Record:
        """Understand a row of sacct."""
        word = row["State"]
        array_id, tasks, het_id = _job_name(row["JobID"])
        exit_code, _, signal = row["ExitCode"].partition(":")
        by = re.search(r" by (\d+)", word)
        ended_at, nodes = moment(row["End"]), given(row["NodeList"])
        limit_min = whole(row["TimelimitRaw"])
        return cls(
            job_id=int(row["JobIDRaw"]),
            array_job_id=array_id,
            array_task_ids=tasks,
            het_job_id=het_id,
            state=base_state(word),
            requeued=word.startswith("REQUEUED"),
            cancelled_by_uid=int(by[1]) if by else None,
            exit_code=whole(exit_code) or 0,
            signal=whole(signal) or 0,
            submitted_at=moment(row["Submit"]),
            # 22.05 gives a job cancelled while pending Start = End; without nodes it had no allocation.
            started_at=moment(row["Start"]) if nodes else None,
            ended_at=ended_at,
            nodes=nodes,
            user=given(row["User"]),
            account=given(row["Account"]),
            partition=given(row["Partition"]),
            gpu_count=gpu_count(row["AllocTRES"] or row["ReqTRES"]),
            time_limit_s=None if limit_min is None else limit_min * 60,
            name=given(row["JobName"]),
            work_dir=given(row["WorkDir"]),
            comment=given(row["Comment"]),
        )


def _job_name(name: str) -> tuple[int | None, tuple[int, ...], int | None]:
    """The array's id, its tasks and the het job's id of a name such as `7`, `5_3`, `5_[7-9%2]` or `12+1`."""
    array = re.match(r"(\d+)_\[?([\d,:-]+)", name)
    if array:
        try:
            return int(array[1]), tuple(int(one) for one in RangeSet(array[2])), None
        except RangeSetException:
            return int(array[1]), (), None
    het = re.match(r"(\d+)\+\d+", name)
    return None, (), int(het[1]) if het else None


def parse_accounting(answer: str, separator: str) -> list[Record]:
    """Understand sacct's answer; rows that name no job are dropped."""
    found = (row for row in rows(answer, separator, FIELDS) if whole(row["JobIDRaw"]) is not None)
    return [Record.of(row) for row in found]


def load_jobs(job_ids: Iterable[int], *, timeout_s: float) -> list[Record]:
    """Every record of these jobs, requeued ones and those of earlier users of the ids included."""
    wanted = ",".join(str(one) for one in sorted(job_ids))
    return _load(["--jobs", wanted], timeout_s) if wanted else []


def load_ended(since: datetime, until: datetime, *, user: str | None = None, timeout_s: float) -> list[Record]:
    """Records of jobs that ended in that time, those that never started included."""
    window = [f"--starttime={_local(since)}", f"--endtime={_local(until)}", f"--state={_ENDED}"]
    return _load([*window, *(["--user", user] if user else ["--allusers"])], timeout_s)


def _local(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%S")  # commands run with TZ=UTC


def _load(which: list[str], timeout_s: float) -> list[Record]:
    separator = new_separator()
    shape = ["--allocations", "--duplicates", "--noheader", "--parsable", f"--delimiter={separator}"]
    answer = run_command(["sacct", *which, *shape, f"--format={','.join(FIELDS)}"], timeout_s=timeout_s)
    return parse_accounting(answer, separator)


def chains(records: Iterable[Record]) -> list[list[Record]]:
    """Records put together that are attempts of one job, the first one first.

    Job ids are reused. A requeue keeps the id and gives the job a new submit time: the end of the attempt before.
    """
    found: list[list[Record]] = []
    last_of: dict[tuple[int, tuple[int, ...]], list[Record]] = {}
    for record in sorted(records, key=_order):
        key = (record.job_id, record.array_task_ids)
        chain = last_of.get(key)
        if chain and _continues(chain[-1], record):
            chain.append(record)
        else:
            last_of[key] = [record]
            found.append(last_of[key])
    return found


def _order(record: Record) -> tuple[float, float]:
    submitted_at, started_at = record.submitted_at, record.started_at
    return (submitted_at.timestamp() if submitted_at else 0, started_at.timestamp() if started_at else 0)


def _continues(before: Record, after: Record) -> bool:
    again = before.requeued or before.state in ("PREEMPTED", "NODE_FAIL", "BOOT_FAIL")
    if not again or before.ended_at is None or after.submitted_at is None:
        return False
    return -timedelta(seconds=2) <= after.submitted_at - before.ended_at <= _REQUEUE_WITHIN
