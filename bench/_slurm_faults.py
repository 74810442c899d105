"""Hooks and jobs while something is wrong: no hook may fail, no job may fail, no node may be drained."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from bench import _processes
from bench._asked import Asked
from bench._figures import Row, Table, p99, progress
from bench._hook_calls import HOOKS, environment
from bench._slurm_array import empty_spools, server_and_agents
from lab.cluster import Cluster
from lab.daemon import wait_until
from lab.place import LabError
from tracker.cli import hook_files

CALLS = 10_000
JOBS = 1_000
OTHER_USER = "bob"


@dataclass(frozen=True)
class _Fault:
    name: str
    agents_run: bool
    server_runs: bool
    spoil: Callable[[Path], None]


def measure(asked: Asked) -> list[Table]:
    """Each fault in turn: first hooks are called one after another, then jobs run."""
    cluster = asked.cluster()
    faults = [
        _Fault("agents dead", False, True, _leave),
        _Fault("server down", True, False, _leave),
        _Fault("spool missing", True, True, shutil.rmtree),
        _Fault("a file in the spool's place", True, True, _file_instead),
        _Fault("spool read-only", True, True, _read_only),
        _Fault("spool full", True, True, _full),
        _Fault("spool owned by someone else", True, True, _foreign),
    ]
    share = 20 if asked.quick else 1
    calls, jobs = (-(-most // (share * len(faults))) for most in (CALLS, JOBS))
    rows = []
    try:
        for fault in faults:
            progress(f"  {fault.name}: {calls} calls, {jobs} jobs")
            with _spoiled(cluster, fault):
                rows.append({"": fault.name, **_call_hooks(cluster, calls), **_run_jobs(cluster, jobs)})
    finally:
        server_and_agents(cluster, run=True)
    total: Row = {key: sum(float(row[key] or 0) for row in rows) for key in rows[0] if key not in ("", "p99 ms")}
    rows.append({**dict.fromkeys(rows[0]), **total, "": "all"})
    return [Table("While something is wrong", rows)]


@contextmanager
def _spoiled(cluster: Cluster, fault: _Fault) -> Iterator[None]:
    server_and_agents(cluster, run=False)
    empty_spools(cluster)
    spools = [cluster.at.spool(node) for node in cluster.nodes]
    for spool in spools:
        fault.spoil(spool)
    if fault.server_runs:
        cluster.start_server()
    for node in cluster.nodes if fault.agents_run else ():
        cluster.start_agent(node)
    try:
        yield
    finally:
        server_and_agents(cluster, run=False)
        for spool in spools:
            _mend(spool)


def _call_hooks(cluster: Cluster, calls: int) -> Row:
    """Call hooks as slurmd does; how many ended with anything but success, and how long they took."""
    failed, wall_ms = 0, []
    for number in range(calls):
        option = HOOKS[number % len(HOOKS)]
        env = environment(1_000_000 + number // len(HOOKS), cluster.nodes[0])
        try:
            wall_ms.append(_processes.run([str(cluster.at.hooks / hook_files.HOOKS[option])], env).wall_ms)
        except ChildProcessError:
            failed += 1
    return {"hook calls": calls, "failed calls": failed, "p99 ms": p99(wall_ms)}


def _run_jobs(cluster: Cluster, jobs: int) -> Row:
    words = [f"--array=1-{jobs}", "--ntasks=1", "--output=/dev/null", "--mem=20M"]
    job = cluster.sbatch("alice", *words, script="#!/bin/sh\ntrue\n")
    ask = ["sacct", "-nPX", "-j", str(job), "-o", "State,ExitCode"]
    states: list[str] = []

    def all_over() -> bool:
        states[:] = _told(cluster, *ask)
        return len(states) == jobs and not any("PENDING" in one or "RUNNING" in one for one in states)

    if not wait_until(all_over, within_s=120, pause_s=0.5):
        raise LabError(f"array {job} does not end: {sorted(set(states))}")
    nodes = _told(cluster, "sinfo", "-hN", "-p", "gpu", "-o", "%T")
    wrong = [one for one in nodes if not one.startswith(("idle", "mixed", "allocated", "completing"))]
    failed = [one for one in states if one != "COMPLETED|0:0"]
    return {"jobs": jobs, "failed jobs": len(failed), "drained nodes": len(wrong)}


def _told(cluster: Cluster, *words: str) -> list[str]:
    return cluster.run_as("root", list(words)).stdout.split()


def _leave(spool: Path) -> None:
    """Nothing is wrong with the spool itself."""


def _file_instead(spool: Path) -> None:
    shutil.rmtree(spool)
    spool.write_text("not a folder\n")


def _small_disk(spool: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,mode=755", "tmpfs", spool], check=True)
    hook_files.make_spool(spool)


def _read_only(spool: Path) -> None:
    _small_disk(spool)
    subprocess.run(["mount", "-o", "remount,ro", spool], check=True)


def _full(spool: Path) -> None:
    _small_disk(spool)
    with suppress(OSError), (spool / "full").open("wb", buffering=0) as file:
        while file.write(bytes(4096)):
            pass


def _foreign(spool: Path) -> None:
    for folder in (spool / "events", spool / "jobs", spool):
        shutil.chown(folder, OTHER_USER)


def _mend(spool: Path) -> None:
    """As it was, whatever was wrong."""
    if spool.is_mount():
        subprocess.run(["umount", "-l", spool], check=True)
    if spool.is_file():
        spool.unlink()
    hook_files.make_spool(spool)
    for folder in (spool, spool / "jobs", spool / "events"):
        shutil.chown(folder, "root")
