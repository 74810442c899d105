"""The jobs of a recording: one of each kind that a source must tell right, all there at one moment."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

from lab.cluster import Cluster
from lab.daemon import wait_until
from lab.place import LabError
from lab.slurm_daemons import ask

HOSTILE_NAMES = {
    "newline": "a\n99|RUNNING|root",
    "separators": "a|b,c;d\x1e\x1f\t=%j",
    "markup": "<script>alert(1)</script>",
    "quotes": 'it\'s "$(id)" `id`',
    "letters": "ünïcödé 実験 🚀",
    "nothing": "None",
    "escape": "\x1b]0;owned\x07\x1b[2J",
}
"""Names of held jobs."""
_SLEEP = "sleep 900"
_STEPS = "srun python3 -c 'import time; x = bytearray(60_000_000); time.sleep(2)'\nsrun sh -c 'exit 7'\nexit 0"
_EAT = "python3 -c 'x = bytearray(300_000_000); print(len(x))'"
_TINY = "--mem=20M"


class KnownJobs:
    """Submits the jobs and brings each to where it has to be; `ids` then tells them by name."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._env = {**cluster.env(), "LANG": "C.UTF-8", "SLURM_TIME_FORMAT": "%s"}
        self.ids: dict[str, int] = {}

    def arrange(self) -> dict[str, int]:
        """All jobs, at their places. Takes about two minutes: Slurm's shortest time limit is one."""
        self._limits()
        self._short_ones()
        self._long_ones()
        self._changed_ones()
        self._waiting_ones()
        self._await("timeout", "TIMEOUT", within_s=200)
        for name, state in (("completed", "COMPLETED"), ("failed", "FAILED"), ("steps", "COMPLETED")):
            self._await(name, state)
        self._await_accounted("timeout")
        return self.ids

    def _limits(self) -> None:
        """A QOS with limits of each kind, of which one holds a job back."""
        limits = ["MaxJobsPerUser=1", "MaxTRESPerUser=cpu=6,mem=4G", "MaxWall=1-12:00:00", "GrpTRES=gres/gpu=3"]
        self._as_root("sacctmgr", "-i", "add", "qos", "tight", *limits)
        self._as_root("sacctmgr", "-i", "modify", "user", "alice", "set", "qos+=tight")
        self._as_root("sacctmgr", "-i", "modify", "account", "phys", "set", "GrpTRES=cpu=500", "MaxJobs=300")

    def _short_ones(self) -> None:
        self._submit("timeout", _SLEEP, "--time=1", _TINY)
        self._submit("completed", "true", "--comment=a fine job", _TINY)
        self._submit("failed", "exit 3", _TINY)
        self._submit("signalled", "kill -SEGV $$", _TINY)
        self._submit("steps", _STEPS, "--mem=200M")
        self._submit("out_of_memory", _EAT, "--mem=60M")

    def _long_ones(self) -> None:
        self._submit("running_on_gpus", _SLEEP, "--gres=gpu:a100:1", "--cpus-per-task=2", _TINY, "--qos=normal")
        self._submit("two_nodes", _SLEEP, "-N2", "--ntasks=2", _TINY)
        self._submit("array", _SLEEP, "--array=0-9%2", _TINY)
        self._submit("het", _SLEEP, _TINY, "-n1", ":", "--mem=30M", "-n2")
        self._submit("of_bob", _SLEEP, _TINY, user="bob")
        self._submit("cancelled_by_root", _SLEEP, _TINY)
        self._submit("requeued", _SLEEP, "--requeue", _TINY)
        self._submit("suspended", _SLEEP, _TINY)
        self._submit("in_its_qos", _SLEEP, _TINY, "--qos=tight")
        self._await("in_its_qos", "RUNNING")
        self._submit("limited", _SLEEP, _TINY, "--qos=tight")
        for name in ("running_on_gpus", "two_nodes", "het", "of_bob", "cancelled_by_root", "requeued", "suspended"):
            self._await(name, "RUNNING")

    def _changed_ones(self) -> None:
        self._as_root("scancel", str(self.ids["cancelled_by_root"]))
        self._as_root("scontrol", "requeue", str(self.ids["requeued"]))
        self._as_root("scontrol", "suspend", str(self.ids["suspended"]))
        self._as_root("scancel", f"{self.ids['array']}_9")
        self._as_root("scontrol", "update", f"jobid={self.ids['of_bob']}", "admincomment=told by root")
        self._await("cancelled_by_root", "CANCELLED")
        self._await("requeued", "PENDING")
        self._as_root("scontrol", "update", f"jobid={self.ids['requeued']}", "starttime=now")
        self._await("requeued", "RUNNING", within_s=200)
        self._await("suspended", "SUSPENDED")

    def _waiting_ones(self) -> None:
        self._submit("cancelled_waiting", _SLEEP, "-H", _TINY)
        self._as_root("scancel", str(self.ids["cancelled_waiting"]))
        self._submit("held", _SLEEP, "-H", _TINY)
        self._submit("begins_later", _SLEEP, "--begin=now+10hours", _TINY)
        self._submit("depends", _SLEEP, f"--dependency=afterok:{self.ids['running_on_gpus']}", _TINY)
        self._submit("never", _SLEEP, f"--dependency=afterok:{self.ids['failed']}", _TINY)
        self._submit("waits_for_resources", _SLEEP, "-N2", "--exclusive", "--time=30")
        self._submit("waits_behind", _SLEEP, "-N2", "--exclusive", "--gres=gpu:2", "--nice=1000")
        for name, words in HOSTILE_NAMES.items():
            self._submit(f"name_{name}", _SLEEP, "-H", _TINY, f"--job-name={words}", f"--comment={words}")

    def _submit(self, name: str, script: str, *words: str, user: str = "alice") -> None:
        named = () if name.startswith("name_") else (f"--job-name={name}",)
        at_colon = words.index(":") if ":" in words else len(words)
        words = (*words[:at_colon], *named, "--output=/dev/null", *words[at_colon:])
        self.ids[name] = self._cluster.sbatch(user, *words, script=f"#!/bin/sh\n{script}\n")

    def _as_root(self, *words: str) -> None:
        done = subprocess.run(words, env=self._env, capture_output=True, text=True, check=False)
        if done.returncode:
            raise LabError(f"`{' '.join(words)}` failed: {done.stderr.strip()}")

    def _await(self, name: str, state: str, within_s: float = 60) -> None:
        self._until(lambda: state in self._states(name), f"job {name} is not {state}", within_s)

    def _states(self, name: str) -> list[str]:
        return ask(self._env, "squeue", "-h", "-a", "-t", "all", "-j", str(self.ids[name]), "-o", "%T").split()

    def _await_accounted(self, name: str) -> None:
        words = ("sacct", "-nXP", "-j", str(self.ids[name]), "-o", "End")
        self._until(lambda: ask(self._env, *words).strip().isdecimal(), f"{name} has no end in accounting", 30)

    def _until(self, answer: Callable[[], bool], problem: str, within_s: float) -> None:
        if not wait_until(answer, within_s=within_s, pause_s=0.3):
            raise LabError(f"{problem} after {within_s:g} s")
