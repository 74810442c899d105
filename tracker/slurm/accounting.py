"""Accounting in sacct's words: what slurmdbd keeps of jobs, one record per attempt. It tells the truth about ends."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import timedelta

from ClusterShell.RangeSet import RangeSet, RangeSetException

from tracker.slurm.asking import rows
from tracker.slurm.records import Record
from tracker.slurm.states import base_state
from tracker.slurm.values import (
    accounted_name,
    exit_of,
    given,
    limit_s,
    moment,
    resources,
    text,
    whole,
)

FIELDS = (
    "JobID", "JobIDRaw", "State", "ExitCode", "Submit", "Eligible", "Start", "End", "Suspended",
    "NodeList", "User", "Account", "Partition", "AllocTRES", "ReqTRES", "TimelimitRaw",
    "JobName", "WorkDir", "Comment",
)  # fmt: skip
BEGIN_AGAIN = ("PREEMPTED", "NODE_FAIL", "BOOT_FAIL")
"""Ends of attempts that another one may follow."""
REQUEUE_WITHIN = timedelta(minutes=5)
"""After an attempt's end the job was submitted anew, as Slurm tells it; later it is another job with this id."""


def parse_accounting(answer: str, separator: str) -> list[Record]:
    """Understand sacct's answer; rows that name no job, such as steps, are dropped."""
    return [_record(row) for row in rows(answer, separator, FIELDS) if whole(row["JobIDRaw"]) is not None]


def _record(row: dict[str, str]) -> Record:
    word = row["State"]
    array_id, tasks, het_id = job_name(row["JobID"])
    exit_code, signal = exit_of(row["ExitCode"])
    by = re.search(r" by (\d+)", word)
    nodes = given(row["NodeList"])
    limit_min = whole(row["TimelimitRaw"])
    asked, held = resources(row["ReqTRES"]), resources(row["AllocTRES"])
    return Record(
        job_id=int(row["JobIDRaw"]),
        array_job_id=array_id,
        array_task_ids=tasks,
        het_job_id=het_id,
        state=base_state(word),
        requeued=word.startswith("REQUEUED"),
        cancelled_by_uid=int(by[1]) if by else None,
        exit_code=exit_code or 0,
        signal=signal or 0,
        submitted_at=moment(row["Submit"]),
        # 22.05 gives a job cancelled while pending Start = End; without nodes it had no allocation.
        started_at=moment(row["Start"]) if nodes else None,
        ended_at=moment(row["End"]),
        nodes=nodes,
        user=given(row["User"]),
        account=given(row["Account"]),
        partition=given(row["Partition"]),
        eligible_at=moment(row["Eligible"]),
        suspended_s=limit_s(row["Suspended"]),
        held=held,
        gpu_count=held.gpus if row["AllocTRES"] else asked.gpus,
        time_limit_s=None if limit_min is None else limit_min * 60,
        name=accounted_name(row["JobName"]),
        work_dir=text(row["WorkDir"]),
        comment=text(row["Comment"]),
    )


def job_name(name: str) -> tuple[int | None, tuple[int, ...], int | None]:
    """Array id, its tasks and het job id of a name such as `7`, `5_3`, `5_[7-9%2]` or `12+1`."""
    array = re.match(r"(\d+)_\[?([\d,:-]+)", name)
    if array:
        try:
            return int(array[1]), tuple(int(one) for one in RangeSet(array[2])), None
        except RangeSetException:
            return int(array[1]), (), None
    het = re.match(r"(\d+)\+\d+", name)
    return None, (), int(het[1]) if het else None


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
    again = before.requeued or before.state in BEGIN_AGAIN
    if not again or before.ended_at is None or after.submitted_at is None:
        return False
    return -timedelta(seconds=2) <= after.submitted_at - before.ended_at <= REQUEUE_WITHIN
