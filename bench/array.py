"""A large array on one experiment: how many tasks Slurm ends a second, and how soon each is a finished run."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

from sqlalchemy import func, select

from bench._figures import Row, Table, play, progress
from lab.cluster import Cluster
from lab.place import LabError
from tracker.store.database import Database
from tracker.store.tables import Experiment, Run, Summary

TASKS = 1000
EXPERIMENT = "array"
PATIENCE_S = 420.0
TASK = (
    "import os, tracker\n"
    f"tracker.init(experiment='{EXPERIMENT}', params={{'seed': int(os.environ['SLURM_ARRAY_TASK_ID'])}})\n"
    "tracker.log({'x': int(os.environ['SLURM_ARRAY_TASK_ID'])}, step=0)\n"
)


def measure() -> list[Table]:
    """The tables, on a fresh cluster that is gone afterwards."""
    cluster = Cluster("array", nodes=2, gpus=0, say=progress)
    cluster.remove()
    try:
        cluster.up()
        return _array(cluster)
    finally:
        cluster.remove()


def _array(cluster: Cluster) -> list[Table]:
    folder = Path(cluster.run_as("alice", ["mktemp", "-d", "array-XXXXXX", "-p", ""]).stdout.strip())
    folder = Path(cluster.run_as("alice", ["pwd"]).stdout.strip()) / folder
    words = [f"--array=0-{TASKS - 1}", "--ntasks=1", f"--output={folder}/%a.out", "--mem=20M"]
    db = Database(f"sqlite:///{cluster.at.home / 'tracker.db'}")
    try:
        began_s = time.monotonic()
        job = cluster.sbatch("alice", *words, script=f'#!/bin/sh\nexec python -c "{TASK}"\n')
        submitted_s = time.monotonic() - began_s
        seen = _watch(cluster, db, job, began_s)
        return [_check(db, job), _times(seen, submitted_s)]
    finally:
        db.close()
        shutil.rmtree(folder, ignore_errors=True)


def _watch(cluster: Cluster, db: Database, job: int, began_s: float) -> dict[str, float]:
    """Look until all runs are finished; the second after the submission at which each thing was reached first."""
    reached: dict[str, float] = {}
    told_s = 0.0
    while "runs completed" not in reached:
        at_s = time.monotonic() - began_s
        if at_s > PATIENCE_S:
            raise LabError(f"after {at_s:.0f} s the server has {_seen(db, job)}")
        with_point, completed = _seen(db, job)
        done: dict[str, Callable[[], bool]] = {
            "points": lambda: with_point == TASKS,  # noqa: B023  # called at once
            "Slurm's queue empty": lambda: not cluster.run_as("root", ["squeue", "-h", "-j", str(job)]).stdout.strip(),
            "runs completed": lambda: completed == TASKS,  # noqa: B023
        }
        for name, is_reached in done.items():
            if name not in reached and is_reached():
                reached[name] = time.monotonic() - began_s
        if at_s >= told_s:
            progress(f"  {at_s:4.0f} s: {with_point} tasks have their point, {completed} are completed runs")
            told_s = at_s + 10
        time.sleep(0.25)
    return reached


def _seen(db: Database, job: int) -> tuple[int, int]:
    with db.read() as session:
        mine = select(func.count()).select_from(Run).where(Run.array_job_id == job)
        completed = session.scalar(mine.where(Run.state == "COMPLETED", Run.state_source == "accounting"))
        points = select(func.count()).select_from(Summary).where(Summary.metric == "x", Summary.count == 1)
        return session.scalar(points) or 0, completed or 0


def _check(db: Database, job: int) -> Table:
    """What the database holds beside what it should: nothing missing, nothing twice."""
    with db.read() as session:
        mine = Run.array_job_id == job
        held = {
            "experiments of that name": select(func.count()).where(Experiment.name == EXPERIMENT),
            "runs": select(func.count()).select_from(Run),
            "runs of the array in the experiment": select(func.count()).select_from(Run).join(Experiment)
            .where(mine, Experiment.name == EXPERIMENT),
            "different tasks": select(func.count(func.distinct(Run.array_task_id))).where(mine),
            "points": select(func.sum(Summary.count)),
            "runs with their own point": select(func.count()).select_from(Run).join(Summary, Summary.run_id == Run.id)
            .where(mine, Summary.metric == "x", Summary.count == 1, Summary.last == Run.array_task_id),
        }  # fmt: skip
        rows: list[Row] = [
            {
                "": name,
                "held": float(session.scalar(query) or 0),
                "wanted": float(1 if "experiments" in name else TASKS),
            }
            for name, query in held.items()
        ]
    wrong = [row for row in rows if row["held"] != row["wanted"]]
    if wrong:
        raise LabError(f"the server holds something else: {wrong}")
    return Table(f"An array of {TASKS:,} tasks, each a Python that logs one point", rows)


def _times(reached: dict[str, float], submitted_s: float) -> Table:
    rows: list[Row] = [{"": "`sbatch` returned", "after s": submitted_s, "tasks a second": None}]
    for name, at_s in sorted(reached.items(), key=lambda one: one[1]):
        rows.append({"": f"all: {name}", "after s": at_s, "tasks a second": TASKS / at_s})
    return Table("Since the submission", rows)


if __name__ == "__main__":
    sys.exit(play("array", __doc__ or "", measure))
