"""What a crash can leave behind: processes, mounts and cgroups. Found by their marks and cleared."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

from lab.daemon import MARK, all_pids, end, environ_of
from lab.place import Place

CGROUPS = Path("/sys/fs/cgroup")
GONE_WITHIN_S = 5.0  # after a process was killed


def processes(at: Place, nodes: list[str]) -> list[int]:
    """Every process that this lab's daemons and jobs started: daemons, step daemons and jobs on virtual nodes."""
    held = {pid for folder in cgroups(nodes) for pid in _pids_of(folder)}
    return [pid for pid in all_pids() if pid in held or _belongs(at, pid)]


def _belongs(at: Place, pid: int) -> bool:
    env = environ_of(pid)
    if env.get(MARK, "").startswith(f"{at.root}:"):
        return True
    # A developer's shell may have SLURM_CONF too; only what slurmd started has a node's name as well.
    return env.get("SLURM_CONF") == str(at.slurm_conf) and "SLURMD_NODENAME" in env


def cgroups(nodes: list[str]) -> list[Path]:
    """The cgroup folders of these nodes, innermost first."""
    found: list[Path] = []
    for node in nodes:
        for top in (*CGROUPS.glob(f"*/slurm_{node}"), *CGROUPS.glob(f"*/{node}_slurmstepd.scope")):
            found += [Path(folder) for folder, _, _ in os.walk(top, topdown=False)]
    return found


def _pids_of(folder: Path) -> list[int]:
    try:
        return [int(line) for line in (folder / "cgroup.procs").read_text().split()]
    except OSError:
        return []


def mounts(at: Place) -> list[str]:
    """Mount points under the lab's folder, innermost first."""
    lines = Path("/proc/self/mounts").read_text().splitlines()
    points = [line.split(" ")[1].replace("\\040", " ") for line in lines]
    return sorted((point for point in points if point.startswith(f"{at.root}/")), reverse=True)


def clear(at: Place, nodes: list[str]) -> None:
    """End the lab's processes, unmount its mounts and remove its cgroups."""
    end(processes(at, nodes), patience_s=3)
    for point in mounts(at):
        subprocess.run(["umount", "--lazy", point], check=False)
    deadline_s = time.monotonic() + GONE_WITHIN_S
    while any(not _is_removed(folder) for folder in cgroups(nodes)) and time.monotonic() < deadline_s:
        time.sleep(0.05)


def _is_removed(folder: Path) -> bool:
    try:
        folder.rmdir()
    except OSError:  # still held by a process that is just going; an empty folder more harms nobody
        return False
    return True
