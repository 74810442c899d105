"""What the hooks cost: each for itself beside a shell that does nothing, and all of them in jobs per second."""

from __future__ import annotations

import random
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from bench import _processes
from bench._figures import Row, Table, median, p99, play, progress, ratio
from lab.cluster import Cluster
from lab.place import LabError
from tracker.cli import hook_files

CALLS = 200
SHELL = "/bin/sh -c :"
ROUNDS = 5
TASKS = 120
BAR_MS = 10.0
NO_HOOKS = "no hooks"
EMPTY_HOOKS = "empty hooks"
EVERYTHING = "our hooks, agents and server"

# What slurmd gives a Prolog, and nothing else. The user is root, as the benchmark starts all programs alike.
HOOK_ENV = {
    "SLURM_CLUSTER_NAME": "bench",
    "SLURM_JOB_RESTART_COUNT": "0",
    "SLURM_JOB_USER": "root",
    "SLURM_JOB_UID": "0",
    "SLURM_JOB_GID": "0",
    "SLURM_JOB_ACCOUNT": "physics",
    "SLURM_JOB_PARTITION": "gpu",
    "SLURMD_NODENAME": "n1",
    "SLURM_NODELIST": "n[1-2]",
    "SLURM_JOB_NUM_NODES": "2",
    "SLURM_JOB_CPUS_PER_NODE": "1(x2)",
    "SLURM_JOB_NTASKS": "2",
    "SLURM_JOB_GPUS": "0,1",
    "SLURM_JOB_WORK_DIR": "/home/alice/experiments/mnist",
    "SLURM_JOB_STDOUT": "/home/alice/experiments/mnist/slurm-4711.out",
    "SLURM_CONF": "/etc/slurm/slurm.conf",
}


_LOGGED = re.compile(
    r"\[(?P<time>\S+)\] (?:sched|_job_complete|sched/backfill: _start_job): "
    r"(?:Allocate |Started )?JobId=(?P<task>\d+_\d+)\(\d+\) (?P<done>done)?"
)


class ArrayTimes(NamedTuple):
    """What an array achieved, and its middle task: from its allocation to the end of its script."""

    jobs_per_s: float
    task_ms: float


def measure() -> list[Table]:
    """Both tables, on a fresh cluster that is gone afterwards."""
    cluster = Cluster("bench", nodes=2, gpus=2, say=progress)
    cluster.remove()
    try:
        cluster.up()
        return [_hooks_alone(cluster.at.root), _jobs_per_second(cluster)]
    finally:
        cluster.remove()


def _hooks_alone(place: Path) -> Table:
    """Call the hooks of one job after another, in Slurm's order, each time beside the empty shell."""
    progress(f"  {CALLS} jobs' hooks")
    costs: dict[str, list[_processes.Cost]] = {SHELL: [], **{option: [] for option in hook_files.HOOKS}}
    with tempfile.TemporaryDirectory(prefix="hooks-", dir=place) as name:
        hooks, spool = Path(name) / "hooks", Path(name) / "spool"
        hook_files.install(hooks, str(spool))
        for job_id in range(1, CALLS + 1):
            env = {**HOOK_ENV, "SLURM_JOB_ID": str(job_id), "SLURM_JOBID": str(job_id)}
            costs[SHELL].append(_processes.run(["/bin/sh", "-c", ":"], env))
            for option in ("Prolog", "TaskProlog", "Epilog"):
                costs[option].append(_processes.run([str(hooks / hook_files.HOOKS[option])], env))
        left = len(list((spool / "events").glob("*.event")))
    if left != 2 * CALLS:
        raise LabError(f"{CALLS} jobs left {left} events, not {2 * CALLS}: the hooks did not do their work")
    return Table(f"One call, {CALLS} jobs", [_hook_row(name, costs[name], costs[SHELL]) for name in costs])


def _hook_row(name: str, costs: list[_processes.Cost], shell: list[_processes.Cost]) -> Row:
    wall_ms = [cost.wall_ms for cost in costs]
    return {
        "": f"`{SHELL}`" if name == SHELL else name,
        "wall median ms": median(wall_ms),
        "wall p99 ms": p99(wall_ms),
        "CPU median ms": median([cost.cpu_ms for cost in costs]),
        "wall ÷ shell": ratio(wall_ms, [cost.wall_ms for cost in shell]),
        "bar ms": None if name == SHELL else BAR_MS,
    }


def _jobs_per_second(cluster: Cluster) -> Table:
    """Run the same array with hooks and without, in turns."""
    ours = (cluster.at.etc / "hooks.conf").read_text()
    hooks = {NO_HOOKS: "# none\n", EMPTY_HOOKS: _empty_hooks(cluster), "our hooks": ours, EVERYTHING: ours}
    found: dict[str, list[ArrayTimes]] = {name: [] for name in hooks}
    _server_and_agents(cluster, run=False)
    for number in range(ROUNDS):
        progress(f"  round {number + 1} of {ROUNDS}: {len(hooks)} arrays of {TASKS} tasks")
        for name in random.sample(list(hooks), len(hooks)):
            _set_hooks(cluster, hooks[name])
            if name == EVERYTHING:
                _server_and_agents(cluster, run=True)
                found[name].append(_array(cluster))
                _server_and_agents(cluster, run=False)
            else:
                found[name].append(_array(cluster))
                _check_events(cluster, 2 * TASKS if hooks[name] == ours else 0)
            _empty_spools(cluster)
    rows = [_array_row(name, times, found) for name, times in found.items()]
    return Table(f"{ROUNDS} arrays of {TASKS} tasks that run `true`, on 2 nodes with 8 CPUs each", rows)


def _array_row(name: str, times: list[ArrayTimes], all_times: dict[str, list[ArrayTimes]]) -> Row:
    rates, tasks_ms = [one.jobs_per_s for one in times], [one.task_ms for one in times]
    row: Row = {"": name, "median jobs/s": median(rates), "min jobs/s": min(rates), "max jobs/s": max(rates)}
    for beside in (NO_HOOKS, EMPTY_HOOKS):
        row[f"rate ÷ {beside}"] = ratio(rates, [one.jobs_per_s for one in all_times[beside]])
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


def _array(cluster: Cluster) -> ArrayTimes:
    """Run an array until its last Epilog is done."""
    words = [f"--array=1-{TASKS}", "--ntasks=1", "--output=/dev/null"]
    job = cluster.sbatch("alice", *words, script="#!/bin/sh\ntrue\n")
    _wait(lambda: not cluster.run_as("root", ["squeue", "-h", "-j", str(job)]).stdout.strip(), f"array {job} ends")
    began, done = _task_times(cluster.at.log / "slurmctld.log", job)
    if not len(began) == len(done) == TASKS:
        raise LabError(f"slurmctld's log has {len(began)} starts and {len(done)} ends of the {TASKS} tasks of {job}")
    took_s = (max(done.values()) - min(began.values())).total_seconds()
    tasks_ms = [(done[task] - began[task]).total_seconds() * 1000 for task in began]
    return ArrayTimes(TASKS / took_s, median(tasks_ms))


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


def _empty_spools(cluster: Cluster) -> None:
    for node in cluster.nodes:
        for file in (cluster.at.spool(node) / "events").glob("*"):
            file.unlink()
        for folder in (cluster.at.spool(node) / "jobs").glob("*"):
            shutil.rmtree(folder)


def _server_and_agents(cluster: Cluster, *, run: bool) -> None:
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


if __name__ == "__main__":
    sys.exit(play("hooks", __doc__ or "", measure))
