"""Rows that users forge, in names and comments of jobs: none may become a job, by commands nor in our database."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from datetime import datetime, timezone

from sqlalchemy import select

from bench._asked import Asked
from bench._figures import Row, Table, progress
from lab.cluster import Cluster
from lab.daemon import wait_until
from lab.known_jobs import HOSTILE_NAMES
from lab.place import LabError
from tracker.slurm.accounting import FIELDS as ACCOUNTING_FIELDS
from tracker.slurm.commands import Commands
from tracker.slurm.queue import FIELDS as QUEUE_FIELDS
from tracker.store.database import Database
from tracker.store.tables import Run

FORGED = 90_000_000
"""The id of the first job that is none."""
SEPARATORS = ("|", ",", "\t", "\x1e", "\x1f", "\n", "x0123456789abcdef")


def measure(asked: Asked) -> list[Table]:
    """Submit jobs whose names and comments are rows of other jobs, and look who believes them."""
    cluster = asked.cluster()
    began = datetime.now(timezone.utc)
    names = [*_rows(QUEUE_FIELDS), *_rows(ACCOUNTING_FIELDS), *HOSTILE_NAMES.values()]
    progress(f"  {len(names)} jobs")
    words = ["--mem=10M", "--output=/dev/null"]
    jobs = {
        cluster.sbatch("alice", *words, f"--job-name={name}", f"--comment={name}", script="#!/bin/sh\ntrue\n")
        for name in names
    }
    os.environ.update(cluster.env())
    commands = Commands(timeout_s=30)
    if not wait_until(lambda: {one.job_id for one in commands.records(jobs) if one.ended_at} >= jobs, within_s=120):
        raise LabError("the jobs do not end")
    time.sleep(2)
    ended = commands.ended(began, datetime.now(timezone.utc))
    told: dict[str, set[int | None]] = {
        "squeue": {job.job_id for job in commands.queue()},
        "sacct, by ids": {record.job_id for record in commands.records(jobs)},
        "sacct, by time": {record.job_id for record in ended},
        "our runs": _runs(cluster),
    }
    rows: list[Row] = [
        {"": who, "jobs": len(jobs), "told": len(jobs & found), "forged": sum((one or 0) >= FORGED for one in found)}
        for who, found in told.items()
    ]
    return [Table("Jobs that are called like rows of other jobs", rows)]


def _rows(fields: Sequence[str]) -> list[str]:
    """A whole row of each separator, between newlines; Slurm cuts a name at 1,024 bytes or so."""
    return [
        f"a{separator}\n{separator.join(_cell(field, FORGED + number) for field in fields)}{separator}\n"
        for number, separator in enumerate(SEPARATORS)
    ]


def _cell(field: str, job_id: int) -> str:
    if field in ("JobID", "ArrayJobID", "JobIDRaw"):
        return str(job_id)
    return {"State": "RUNNING", "UserName": "root", "User": "root", "NodeList": "n1"}.get(field, "1")


def _runs(cluster: Cluster) -> set[int | None]:
    database = Database(f"sqlite:///{cluster.at.home / 'tracker.db'}")
    try:
        with database.read() as session:
            return set(session.scalars(select(Run.job_id)))
    finally:
        database.close()
