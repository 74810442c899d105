"""What one job does on this node, from one look to the next."""

from __future__ import annotations

from typing import Any, NamedTuple

from tracker.agent.hardware import cgroups, processes
from tracker.agent.hardware.processes import Process, Transfer

_MOST_GPUS = 64


class Roots(NamedTuple):
    """Where this node tells of itself."""

    cgroup: str = cgroups.ROOT
    proc: str = processes.ROOT


class Target(NamedTuple):
    """A job to sample. `pids` of a run outside Slurm: its scripts and their starts in clock ticks."""

    folder: str
    uid: int
    cluster: str | None
    job_id: int | None
    pids: tuple[tuple[int, int], ...]
    gpus: tuple[int, ...]

    @classmethod
    def of(cls, said: dict[str, Any]) -> Target:
        """Read what the agent says."""
        pids = tuple((int(pid), int(ticks)) for pid, ticks in said["pids"])
        gpus = tuple(int(index) for index in said["gpus"])[:_MOST_GPUS]
        return cls(said["folder"], said["uid"], said["cluster"], said["job_id"], pids, gpus)


class Reading(NamedTuple):
    """What a job has used until `at_s` (of time.monotonic()): counts since its start, and memory now."""

    at_s: float
    cpu_s: float | None
    memory_bytes: int | None
    limit_bytes: int | None
    transfer: Transfer | None


class Job:
    """Finds the processes of a job and reads what they use."""

    def __init__(self, target: Target, node: str, roots: Roots) -> None:
        self.target = target
        self._node, self._roots = node, roots
        self._groups: cgroups.JobGroups | None = None
        self._pids: list[int] = []

    def find(self, known: dict[int, Process]) -> None:
        """Find the job's processes; `known` are all of its user. Slurm's control groups know best."""
        target = self.target
        if target.job_id is None or target.cluster is None:
            alive = [pid for pid, ticks in target.pids if pid in known and known[pid].started_ticks == ticks]
            self._pids = processes.families(known, alive)
            return
        self._groups = cgroups.find(self._roots.cgroup, self._node, target.uid, target.job_id)
        if self._groups is not None:
            self._pids = self._groups.pids()[: processes.MOST_PROCESSES]
        else:
            self._pids = processes.of_job(self._roots.proc, known, self._node, target.cluster, target.job_id)

    def read(self, at_s: float, *, thoroughly: bool) -> Reading | None:
        """Return what the job has used; None when nothing of it is left. What storage did is read `thoroughly` only."""
        groups = self._groups.usage() if self._groups is not None else None
        if self._groups is not None and groups is None:
            self._groups, self._pids = None, []
        cpu_s, memory_bytes = (groups.cpu_s, groups.memory_bytes) if groups else (None, None)
        if cpu_s is None or memory_bytes is None:
            alive = [process for process in (processes.read(self._roots.proc, pid) for pid in self._pids) if process]
            if not alive and groups is None:
                return None
            cpu_s = sum(process.cpu_s for process in alive) if cpu_s is None else cpu_s
            if memory_bytes is None:
                memory_bytes = processes.memory_bytes(self._roots.proc, [process.pid for process in alive])
        transfer = processes.transfer(self._roots.proc, self._pids) if thoroughly else None
        return Reading(at_s, cpu_s, memory_bytes, groups.limit_bytes if groups else None, transfer)


def metrics(before: Reading, now: Reading) -> dict[str, float]:
    """Return a job's metrics between two readings. Counts that went back, as of processes that are gone, give none."""
    took_s = now.at_s - before.at_s
    found: dict[str, float] = {}
    if now.cpu_s is not None and before.cpu_s is not None and now.cpu_s >= before.cpu_s:
        found["system/cpu.percent"] = round((now.cpu_s - before.cpu_s) / took_s * 100, 2)
    if now.memory_bytes is not None:
        found["system/memory_bytes"] = now.memory_bytes
        if now.limit_bytes:
            found["system/memory.percent"] = round(now.memory_bytes / now.limit_bytes * 100, 2)
    if now.transfer is not None and before.transfer is not None:
        for name, after, at_first in (
            ("system/io.read_bytes_per_s", now.transfer.read_bytes, before.transfer.read_bytes),
            ("system/io.write_bytes_per_s", now.transfer.written_bytes, before.transfer.written_bytes),
        ):
            if after >= at_first:
                found[name] = round((after - at_first) / took_s, 1)
    return found
