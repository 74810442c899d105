"""Requests to Slurm while people look: counted by Slurm itself (sdiag, sacctmgr) and by the watcher."""

from __future__ import annotations

import random
import re
import time
from collections import Counter
from datetime import timedelta

from bench._asked import Asked
from bench._browsers import browsers
from bench._figures import Row, Table, median, progress
from lab.cluster import Cluster
from lab.daemon import wait_until
from lab.place import LabError
from tracker.store import clusters, tokens
from tracker.store.database import Database

BROWSERS = (0, 10, 100)
ROUNDS = 5
LOOKED_FOR_S = 30.0
PEOPLE = 5  # one person may hold a quarter of a process's streams
TASKS_AT_ONCE = 2
TASK_S = 4
_COUNT = re.compile(r"^\s*(\w+)\s*\(\s*\d+\)\s+count:(\d+)", re.MULTILINE)
_QUERIES = ("JOB_INFO", "JOB_INFO_SINGLE", "JOB_USER_INFO", "NODE_INFO", "NODE_INFO_SINGLE", "PARTITION_INFO",
            "BUILD_INFO", "RESERVATION_INFO", "JOB_STEP_INFO", "LICENSE_INFO")  # fmt: skip
"""Requests to slurmctld that ask for something. slurmd and the jobs themselves send others."""


def measure(asked: Asked) -> list[Table]:
    """Count while none, some and many look, in turns; jobs start and end all the time, so that there is news."""
    cluster = asked.cluster()
    rounds, looked_for_s = (1, 10.0) if asked.quick else (ROUNDS, LOOKED_FOR_S)
    database = Database(f"sqlite:///{cluster.at.home / 'tracker.db'}")
    found: dict[int, list[Row]] = {number: [] for number in BROWSERS}
    keys = _keys(database, max(BROWSERS))
    tasks = int(rounds * len(BROWSERS) * (looked_for_s + 15) / TASK_S * TASKS_AT_ONCE) + 100
    words = [f"--array=1-{tasks}%{TASKS_AT_ONCE}", "--mem=20M", "--output=/dev/null"]
    job = cluster.sbatch("alice", *words, script=f"#!/bin/sh\nsleep {TASK_S}\n")
    try:
        _await_news(cluster, database, job)
        for number in range(rounds):
            for people in random.sample(BROWSERS, len(BROWSERS)):
                progress(f"  round {number + 1} of {rounds}: {people} browsers for {looked_for_s:g} s")
                found[people].append(_count(cluster, database, keys[:people], looked_for_s))
    finally:
        cluster.run_as("root", ["scancel", str(job)])
        database.close()
    rows = [_row(people, found) for people in BROWSERS]
    return [Table(f"Requests an hour, medians of {rounds} times {looked_for_s:g} s", rows)]


def _await_news(cluster: Cluster, database: Database, job: int) -> None:
    """Until tasks run and the watcher has begun to ask."""
    running = ("squeue", "-h", "-t", "running", "-j", str(job), "-o", "%A")
    before = _asked(cluster, database)["watcher"]

    def begun() -> bool:
        rows = cluster.run_as("root", list(running)).stdout.split()
        return len(rows) == TASKS_AT_ONCE and _asked(cluster, database)["watcher"] > before + 5

    if not wait_until(begun, within_s=60, pause_s=0.5):
        raise LabError("no task of the array runs, or the watcher does not ask")


def _keys(database: Database, count: int) -> list[str]:
    with database.write() as session:
        made = [
            tokens.create(session, f"reader{number}", "user", tokens.API, timedelta(hours=1))
            for number in range(PEOPLE)
        ]
    return [made[number % PEOPLE] for number in range(count)]


def _count(cluster: Cluster, database: Database, keys: list[str], looked_for_s: float) -> Row:
    port = int(cluster.url.rpartition(":")[2])
    with browsers(port, keys) as seen:
        if not wait_until(lambda: seen.streams.value >= len(keys), within_s=60):
            raise LabError(f"{seen.streams.value} of {len(keys)} streams opened")
        time.sleep(2)
        began_s, before, pages, events = (
            time.monotonic(),
            _asked(cluster, database),
            seen.pages.value,
            seen.events.value,
        )
        time.sleep(looked_for_s)
        after, took_s = _asked(cluster, database), time.monotonic() - began_s
        grown = {name: (count - before.get(name, 0)) / took_s * 3600 for name, count in after.items()}
        held = seen.streams.value
        return {
            "streams": held, "pages": seen.pages.value - pages, "events": seen.events.value - events,
            "slurmctld": grown["slurmctld"], "slurmdbd": grown["slurmdbd"], "watcher's questions": grown["watcher"],
        }  # fmt: skip


def _asked(cluster: Cluster, database: Database) -> dict[str, int]:
    """Requests so far: to the controller, to accounting, and questions as the watcher counts them."""
    controller, accounting = (
        Counter(_told(cluster, "sdiag")),
        Counter(_told(cluster, "sacctmgr", "-n", "show", "stats")),
    )
    with database.read() as session:
        watched = clusters.find(session, cluster.at.name)
        questions = sum(int(one["asked"]) for one in watched.questions.values()) if watched else 0
    return {
        "slurmctld": sum(controller[f"REQUEST_{one}"] for one in _QUERIES),
        "slurmdbd": accounting["DBD_GET_JOBS_COND"],
        "watcher": questions,
    }


def _told(cluster: Cluster, *words: str) -> dict[str, int]:
    answer = cluster.run_as("root", list(words))
    if answer.returncode:
        raise LabError(f"{words[0]} failed: {answer.stderr.strip()}")
    return {name: int(count) for name, count in _COUNT.findall(answer.stdout)}


def _row(people: int, found: dict[int, list[Row]]) -> Row:
    row: Row = {"browsers": str(people)}
    for key in found[people][0]:
        row[key] = median([float(one[key] or 0) for one in found[people]])
    quiet = median([float(one["slurmctld"] or 0) for one in found[BROWSERS[0]]])
    return {**row, "slurmctld ÷ nobody looking": float(row["slurmctld"] or 0) / quiet if quiet else None}
