"""What Slurm's control groups tell of a job on this node."""

from __future__ import annotations

import os
from typing import NamedTuple

ROOT = "/sys/fs/cgroup"
_UNLIMITED_BYTES = 2**60  # version 1 writes a number near 2^63 where there is no limit
_MOST_GROUPS = 4096


class Usage(NamedTuple):
    """What a job has used: processor time since its start, memory now, and its limit; None where nobody tells."""

    cpu_s: float | None
    memory_bytes: int | None
    limit_bytes: int | None


class JobGroups:
    """The control groups of one job, by controller; in version 2 the one of all controllers is `unified`."""

    def __init__(self, folders: dict[str, str]) -> None:
        self._folders = folders

    def usage(self) -> Usage | None:
        """Return what the job uses; None when its groups are gone.

        Memory is what the kernel cannot simply drop, as the limit will meet it: anonymous pages and shared memory, of
        all processes and without files' pages in its cache (Documentation/admin-guide/cgroup-v1/memory.rst, 5.2, and
        cgroup-v2.rst, memory.stat). What is swapped out is not counted, as in sacct's MaxRSS.
        """
        if not any(os.path.isdir(folder) for folder in self._folders.values()):
            return None
        return self._version_2() if "unified" in self._folders else self._version_1()

    def pids(self) -> list[int]:
        """Return the job's processes."""
        for controller in ("unified", "freezer", "cpuacct", "memory"):
            if controller in self._folders:
                return _pids_under(self._folders[controller])
        return []

    def _version_1(self) -> Usage:
        nanoseconds = _number(self._file("cpuacct", "cpuacct.usage"))
        stat = _table(self._file("memory", "memory.stat"))
        memory = stat["total_rss"] + stat.get("total_shmem", 0) if "total_rss" in stat else None
        limit = _number(self._file("memory", "memory.limit_in_bytes"))
        return Usage(None if nanoseconds is None else nanoseconds / 1e9, memory, _limit(limit))

    def _version_2(self) -> Usage:
        microseconds = _table(self._file("unified", "cpu.stat")).get("usage_usec")
        stat = _table(self._file("unified", "memory.stat"))
        memory = stat["anon"] + stat.get("shmem", 0) if "anon" in stat else None
        limit = _number(self._file("unified", "memory.max"))
        return Usage(None if microseconds is None else microseconds / 1e6, memory, _limit(limit))

    def _file(self, controller: str, name: str) -> str:
        folder = self._folders.get(controller)
        return _read(f"{folder}/{name}") if folder else ""


def find(root: str, node: str, uid: int, job_id: int) -> JobGroups | None:
    """Return a job's groups where Slurm makes them; None if there are none.

    Version 1: `<controller>/slurm/uid_<uid>/job_<id>`, with `slurm_<node>` where several slurmd share a machine.
    Version 2: `system.slice/slurmstepd.scope/job_<id>`, or `<node>_slurmstepd.scope` likewise.
    """
    for scope in (f"{node}_slurmstepd.scope", "slurmstepd.scope"):
        folder = f"{root}/system.slice/{scope}/job_{job_id}"
        if os.path.isdir(folder):
            return JobGroups({"unified": folder})
    for base in (f"slurm_{node}", "slurm"):
        places = {one: f"{root}/{one}/{base}/uid_{uid}/job_{job_id}" for one in ("memory", "cpuacct", "freezer")}
        found = {controller: folder for controller, folder in places.items() if os.path.isdir(folder)}
        if found:
            return JobGroups(found)
    return None


def _pids_under(folder: str) -> list[int]:
    found: set[int] = set()
    for number, (path, _, _) in enumerate(os.walk(folder)):
        if number >= _MOST_GROUPS:
            break
        found.update(int(line) for line in _read(f"{path}/cgroup.procs").split())
    return sorted(found)


def _limit(limit_bytes: int | None) -> int | None:
    return limit_bytes if limit_bytes is not None and 0 < limit_bytes < _UNLIMITED_BYTES else None


def _table(text: str) -> dict[str, int]:
    pairs = (line.split() for line in text.splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdigit()}


def _number(text: str) -> int | None:
    word = text.strip()
    return int(word) if word.isdigit() else None


def _read(path: str) -> str:
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read()
    except OSError:
        return ""
