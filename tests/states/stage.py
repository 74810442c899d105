"""A cluster of one version of Slurm on which the stories are played, and what is done to it."""

from __future__ import annotations

import os
import queue
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab import accounting, slurm_daemons
from lab.cluster import Cluster
from lab.daemon import all_pids, environ_of
from tests.conftest import wait_until
from tests.e2e.conftest import Site
from tests.states.sightings import Name, Shown, Sightings

COMMON_NODES = 2
FINAL = {"COMPLETED", "FAILED", "TIMEOUT", "OUT_OF_MEMORY", "CANCELLED", "PREEMPTED", "NODE_FAIL", "DEADLINE", "LOST"}
PATIENCE_S = 300
"""Longer than the longest story takes on a slow machine beside all others."""


@dataclass(frozen=True)
class Record:
    """One line of `sacct -D`: an attempt, or a job that never started."""

    name: str
    job_id: int
    state: str
    exit_code: int
    signal: int
    submitted_s: int
    started_s: int | None
    ended_s: int | None
    nodes: str


class Stage(Site):
    """The first two nodes are for everybody; each of the others is lent to one story at a time."""

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(cluster)
        self.version = cluster.memory.slurm
        self.sightings = Sightings(cluster.at.home / "tracker.db")
        self._slurm_env = {**self.env, "LANG": "C.UTF-8"}
        self._flags = cluster.at.root / "flags"
        self._flags.mkdir(exist_ok=True)
        self._flags.chmod(0o777)
        self._lent: queue.SimpleQueue[str] = queue.SimpleQueue()
        for node in cluster.nodes[COMMON_NODES:]:
            self._lent.put(node)

    # -- jobs

    def submit(self, script: str, *words: str, node: str = "", user: str = "alice") -> int:
        """Submit a small job to that node, or to those for everybody; its id."""
        return self.sbatch(script, *self.small(node), *words, user=user)

    def small(self, node: str = "") -> list[str]:
        """Words of sbatch, srun and salloc for a small job."""
        where = f"--nodelist={node}" if node else f"--exclude={','.join(self.cluster.nodes[COMMON_NODES:])}"
        return [where, "--mem=40M", "--output=/dev/null"]

    def flag(self, name: str) -> Path:
        """A file that a job waits for, in a folder where everybody may write."""
        return self._flags / name

    def until(self, job: int, *states: str, restarts: int | None = None, task: int | None = None) -> Shown:
        """As soon as the run is in one of the states."""
        return self.sightings.until(
            (job, task),
            lambda shown: shown.state in states and restarts in (None, shown.restarts),
            PATIENCE_S,
        )

    def until_told(self, name: Name) -> Shown:
        """As soon as accounting has told the run's end."""
        return self.sightings.until(
            name, lambda shown: shown.state in FINAL and shown.source == "accounting", PATIENCE_S
        )

    def as_user(self, user: str, *words: str) -> str:
        """What a command of a user's prints."""
        answer = self.cluster.run_as(user, list(words), timeout_s=PATIENCE_S)
        assert answer.returncode == 0, answer.stderr
        return answer.stdout

    def records(self, job: int) -> list[Record]:
        """What `sacct -D` tells of a job, an array or a het job: one line an attempt, the first one first."""
        shown = "JobID,JobIDRaw,State,ExitCode,Submit,Start,End,NodeList"
        words = ["env", "SLURM_TIME_FORMAT=%s", "SLURM_BITSTR_LEN=0", "sacct", "-XDnP", "-j", str(job), "-o", shown]
        found = [_record(line.split("|")) for line in self.as_root(*words).splitlines()]
        return sorted(found, key=lambda one: (one.submitted_s, one.started_s or 0))

    def run_of(self, name: Name) -> dict[str, Any]:
        """The run, as the API tells it."""
        job, task = name
        return self.run(job if task is None else f"{job}_{task}") or {}

    # -- nodes

    @contextmanager
    def own_node(self) -> Iterator[str]:
        """A node that no other story uses."""
        node = self._lent.get(timeout=PATIENCE_S)
        try:
            yield node
        finally:
            self._lent.put(node)

    @contextmanager
    def lost(self, node: str) -> Iterator[None]:
        """The node's slurmd, its step daemons and then its jobs' processes are gone, as after a power cut."""
        of_job = {"SLURM_CONF": str(self.cluster.at.slurm_conf), "SLURMD_NODENAME": node}
        jobs = [pid for pid in all_pids() if of_job.items() <= environ_of(pid).items()]
        try:
            slurm_daemons.slurmd(self.cluster.at, node).kill()
            for pid in (*filter(_is_step_daemon, map(_parent, jobs)), *jobs):  # it hides its environment
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            yield
        finally:
            self.bring_back(node)

    def bring_back(self, node: str) -> None:
        """The node takes jobs again."""
        slurm_daemons.slurmd(self.cluster.at, node).start()
        ready = ("idle", "mixed", "allocated", "completing")
        wait_until(lambda: slurm_daemons.node_state(self._slurm_env, node) in ready, PATIENCE_S, 0.5, f"{node} is back")

    # -- daemons

    def stop_slurmctld(self) -> None:
        """The controller is gone; nodes and jobs go on."""
        slurm_daemons.slurmctld(self.cluster.at).stop()

    def start_slurmctld(self) -> None:
        """The controller is there again."""
        slurm_daemons.start_slurmctld(self.cluster.at, self._slurm_env)

    def forget_jobs(self) -> None:
        """The controller starts anew; what it knew of jobs is lost, and it counts their ids from 1 again."""
        self.stop_slurmctld()
        for path in (self.cluster.at.root / "state").glob("job_state*"):
            path.unlink()
        daemon = slurm_daemons.slurmctld(self.cluster.at)
        daemon.argv.append("-i")  # 26.05 would not start without the file
        daemon.start()
        self.start_slurmctld()

    def stop_slurmdbd(self) -> None:
        """Accounting is gone; slurmctld keeps what it has to tell."""
        accounting.slurmdbd(self.cluster.at).stop()

    def start_slurmdbd(self) -> None:
        """Accounting is there again."""
        accounting.start_slurmdbd(self.cluster.at, self._slurm_env)

    @contextmanager
    def without_hooks(self) -> Iterator[None]:
        """Slurm calls no hooks."""
        conf = self.cluster.at.etc / "hooks.conf"
        kept = conf.read_text()
        try:
            conf.write_text("PrologFlags=Alloc\n")
            self._reconfigure(prolog=False)
            yield
        finally:
            conf.write_text(kept)
            self._reconfigure(prolog=True)

    @contextmanager
    def without_accounting(self) -> Iterator[None]:
        """The controller knows of no slurmdbd."""
        conf = self.cluster.at.slurm_conf
        kept = conf.read_text()
        self.stop_slurmctld()
        try:
            conf.write_text(re.sub(r"^AccountingStor.*\n", "", kept, flags=re.MULTILINE))
            self.start_slurmctld()
            yield
        finally:
            self.stop_slurmctld()
            conf.write_text(kept)
            self.start_slurmctld()

    def _reconfigure(self, prolog: bool) -> None:
        self.as_root("scontrol", "reconfigure")

        def is_so() -> bool:
            told = slurm_daemons.ask(self._slurm_env, "scontrol", "show", "config")
            return bool(told) and bool(re.search(r"^Prolog(\[0\])? *= /", told, re.MULTILINE)) == prolog

        wait_until(is_so, PATIENCE_S, 0.5, "slurmctld has read its configuration")


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def _is_step_daemon(pid: int) -> bool:
    return Path(f"/proc/{pid}/comm").read_text().strip() == "slurmstepd"


def _record(cells: list[str]) -> Record:
    name, job_id, state, ended_with, submitted_s, started_s, ended_s, nodes = cells
    exit_code, signal = ended_with.split(":")
    return Record(
        name=name,
        job_id=int(job_id),
        state=state.split()[0],
        exit_code=int(exit_code),
        signal=int(signal),
        submitted_s=int(submitted_s),
        started_s=int(started_s) if started_s.isdecimal() else None,
        ended_s=int(ended_s) if ended_s.isdecimal() else None,
        nodes="" if nodes == "None assigned" else nodes,
    )
