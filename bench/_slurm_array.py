"""What the hooks cost an array of short jobs, in jobs a second: with none, with empty ones, with ours."""

from __future__ import annotations

import random
import re
import shutil
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from bench._asked import Asked
from bench._figures import Row, Table, median, progress, ratio
from lab.cluster import Cluster
from lab.place import LabError
from tracker.cli import hook_files

ROUNDS = 5
TASKS = 300
BAR = 0.95
NO_HOOKS = "no hooks"
ALLOC = "no hooks, `PrologFlags=Alloc`"
EMPTY_HOOKS = "empty hooks"
OUR_HOOKS = "our hooks"
EVERYTHING = "our hooks, agents and server"

_LOGGED = re.compile(
    r"\[(?P<time>\S+)\] (?:sched|_job_complete|sched/backfill: _start_job): "
    r"(?:Allocate |Started )?JobId=(?P<task>\d+_\d+)\(\d+\) (?P<done>done)?"
)


class ArrayTimes(NamedTuple):
    """What an array achieved, and its middle task: from its allocation to the end of its script."""

    jobs_per_s: float
    task_ms: float


def measure(asked: Asked) -> list[Table]:
    """Run the same array with hooks and without, in turns."""
    cluster = asked.cluster()
    rounds, tasks = (1, 60) if asked.quick else (ROUNDS, TASKS)
    ours = (cluster.at.etc / "hooks.conf").read_text()
    found: dict[str, list[ArrayTimes]] = {NO_HOOKS: [], ALLOC: [], EMPTY_HOOKS: [], OUR_HOOKS: [], EVERYTHING: []}
    hooks = dict.fromkeys(found, ours)
    hooks |= {NO_HOOKS: "# none\n", ALLOC: "PrologFlags=Alloc\n", EMPTY_HOOKS: _empty_hooks(cluster)}
    server_and_agents(cluster, run=False)
    for number in range(rounds):
        progress(f"  round {number + 1} of {rounds}: {len(hooks)} arrays of {tasks} tasks")
        for name in random.sample(list(hooks), len(hooks)):
            _set_hooks(cluster, hooks[name])
            server_and_agents(cluster, run=name == EVERYTHING)
            found[name].append(_array(cluster, tasks))
            if name != EVERYTHING:
                _check_events(cluster, 2 * tasks if hooks[name] == ours else 0)
            server_and_agents(cluster, run=False)
            empty_spools(cluster)
    _set_hooks(cluster, ours)
    server_and_agents(cluster, run=True)
    rows = [_array_row(name, times, found) for name, times in found.items()]
    return [Table(f"{rounds} arrays of {tasks} tasks that run `true`, on 2 nodes with 8 CPUs each", rows)]


def _array_row(name: str, times: list[ArrayTimes], all_times: dict[str, list[ArrayTimes]]) -> Row:
    rates, tasks_ms = [one.jobs_per_s for one in times], [one.task_ms for one in times]
    row: Row = {"": name, "median jobs/s": median(rates), "min jobs/s": min(rates), "max jobs/s": max(rates)}
    for beside in (NO_HOOKS, EMPTY_HOOKS):
        row[f"rate ÷ {beside}"] = ratio(rates, [one.jobs_per_s for one in all_times[beside]])
    row["bar"] = BAR if name == OUR_HOOKS else None
    row["a task, median ms"] = median(tasks_ms)
    for beside in (NO_HOOKS, EMPTY_HOOKS):
        row[f"task ÷ {beside}"] = ratio(tasks_ms, [one.task_ms for one in all_times[beside]])
    return row


def _empty_hooks(cluster: Cluster) -> str:
    """Make hooks that do nothing; gives the lines of slurm.conf, which are those of our hooks but for the folder."""
    folder = cluster.at.root / "empty"
    folder.mkdir()
    for script in hook_files.HOOKS.values():
        (folder / script).write_text("#!/bin/sh\nexit 0\n")
        (folder / script).chmod(0o755)
    return "\n".join(hook_files.slurm_conf_lines(folder)) + "\n"


def _set_hooks(cluster: Cluster, text: str) -> None:
    (cluster.at.etc / "hooks.conf").write_text(text)
    answer = cluster.run_as("root", ["scontrol", "reconfigure"])
    if answer.returncode:
        raise LabError(f"scontrol reconfigure failed: {answer.stderr.strip()}")


def _array(cluster: Cluster, tasks: int) -> ArrayTimes:
    """Run an array until its last Epilog is done."""
    words = [f"--array=1-{tasks}", "--ntasks=1", "--output=/dev/null"]
    job = cluster.sbatch("alice", *words, script="#!/bin/sh\ntrue\n")
    _wait(lambda: not cluster.run_as("root", ["squeue", "-h", "-j", str(job)]).stdout.strip(), f"array {job} ends")
    began, done = _task_times(cluster.at.log / "slurmctld.log", job)
    if not len(began) == len(done) == tasks:
        raise LabError(f"slurmctld's log has {len(began)} starts and {len(done)} ends of the {tasks} tasks of {job}")
    took_s = (max(done.values()) - min(began.values())).total_seconds()
    tasks_ms = [(done[task] - began[task]).total_seconds() * 1000 for task in began]
    return ArrayTimes(tasks / took_s, median(tasks_ms))


def _task_times(log: Path, job: int) -> tuple[dict[str, datetime], dict[str, datetime]]:
    """When the controller allocated each task of an array, and when its script had ended, to the millisecond."""
    began: dict[str, datetime] = {}
    done: dict[str, datetime] = {}
    for said in _LOGGED.finditer(log.read_text(errors="replace")):
        at = datetime.fromisoformat(said["time"])
        if said["task"].startswith(f"{job}_"):
            if said["done"]:
                done[said["task"]] = at
            else:
                began.setdefault(said["task"], at)
    return began, done


def _check_events(cluster: Cluster, wanted: int) -> None:
    """`scontrol reconfigure` may have been too slow, and then it is not the hooks that were measured."""
    left = sum(len(list((cluster.at.spool(node) / "events").glob("*.event"))) for node in cluster.nodes)
    if left != wanted:
        raise LabError(f"an array left {left} events, not {wanted}: the hooks were not those to be measured")


def empty_spools(cluster: Cluster) -> None:
    """Forget what hooks left."""
    for node in cluster.nodes:
        for file in (cluster.at.spool(node) / "events").glob("*"):
            file.unlink()
        for folder in (cluster.at.spool(node) / "jobs").glob("*"):
            shutil.rmtree(folder)


def server_and_agents(cluster: Cluster, *, run: bool) -> None:
    """Start or stop what is beside Slurm."""
    if run:
        cluster.start_server()
    for node in cluster.nodes:
        (cluster.start_agent if run else cluster.stop_agent)(node)
    if not run:
        cluster.stop_server()


def _wait(reached: Callable[[], bool], what: str, within_s: float = 60) -> None:
    deadline_s = time.monotonic() + within_s
    while not reached():
        if time.monotonic() > deadline_s:
            raise LabError(f"waited {within_s:g} s in vain until {what}")
        time.sleep(0.2)
