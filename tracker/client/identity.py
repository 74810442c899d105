"""Who is this process: which job, which rank, on which node, as the environment tells."""

from __future__ import annotations

import os
import re
import sys

from tracker.client import redact
from tracker.client.typed import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from typing import Any, Mapping, Sequence

_ARGV_MOST_CHARS = 16_000


class Job(NamedTuple):
    """The Slurm job of a process; `restart_count` is 0 on the first attempt, whose number is 1."""

    cluster: str
    job_id: int
    restart_count: int

    @property
    def attempt(self) -> int:
        """The number of the attempt."""
        return self.restart_count + 1


def slurm_job(env: Mapping[str, str]) -> Job | None:
    """Return the Slurm job of this environment; None outside Slurm."""
    cluster = env.get("SLURM_CLUSTER_NAME", "")
    job_id = whole_number(env.get("SLURM_JOB_ID"))
    if not job_id or not re.match(r"[A-Za-z0-9_-]{1,64}\Z", cluster):
        return None
    return Job(cluster, job_id, whole_number(env.get("SLURM_RESTART_COUNT")) or 0)


def rank(env: Mapping[str, str]) -> int:
    """Return the rank of this process among those of its run: torchrun's where it started it, else Slurm's, else 0."""
    by_torchrun = "LOCAL_RANK" in env and "WORLD_SIZE" in env  # one Slurm task may start a process for each GPU
    return whole_number(env.get("RANK") if by_torchrun else env.get("SLURM_PROCID")) or 0


def whole_number(text: str | None) -> int | None:
    """Read a number that Slurm wrote into a variable; None when it is not set or is none."""
    return int(text) if text is not None and text.isdigit() and text.isascii() and len(text) < 20 else None


def code_folders() -> list[str]:
    """Return where the code of this process may lie, likeliest first: beside its script, then the working folder."""
    # To be asked while the script runs: Python forgets its file in the end.
    script = getattr(sys.modules.get("__main__"), "__file__", None)
    beside = os.path.dirname(os.path.abspath(script)) if isinstance(script, str) else None
    return [folder for folder in (beside, working_folder()) if folder]


def is_captured(env: Mapping[str, str], run: str) -> bool:
    """Say whether this process is one to capture: rank 0, and no part of one that was captured for this run."""
    if env.get("TRACKER_CAPTURE") == "off" or env.get("TRACKER_CAPTURED") == run:
        return False
    if any(whole_number(env.get(rank)) for rank in ("SLURM_PROCID", "RANK")):
        return False
    processes = sys.modules.get("multiprocessing.process")
    return processes is None or processes.parent_process() is None


def writer_header(env: Mapping[str, str], time_s: float, run_id: str | None) -> dict[str, Any]:
    """Return the first line of a writer's file: who writes it, where and from which program."""
    job = slurm_job(env)
    host = os.uname().nodename
    header = {
        "event": "writer",
        "version": 1,
        "node": env.get("SLURMD_NODENAME") or host.partition(".")[0],
        "rank": rank(env),
        "pid": os.getpid(),
        "time": time_s,
        "host": host,
        "process": process_identity(os.getpid()),
        "cluster": job.cluster if job else None,
        "job_id": job.job_id if job else None,
        "restart_count": job.restart_count if job else None,
        "run": run_id,
        "user": env.get("SLURM_JOB_USER") or env.get("USER") or env.get("LOGNAME"),
        "argv": arguments(getattr(sys, "argv", [])),
        "cwd": working_folder(),
        "python": sys.version.split()[0],
    }
    return {key: value for key, value in header.items() if value is not None}


def process_identity(pid: int) -> str | None:
    """Name a process so that no other ever has the same name: boot, process namespace and start; None where unknown."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            boot = file.read().strip()
        with open(f"/proc/{pid}/stat", "rb") as file:
            # The program's name stands in parentheses and may hold anything; the start is the 20th field after it.
            started_ticks = file.read().rpartition(b")")[2].split()[19].decode()
        return f"{boot}/{os.readlink('/proc/self/ns/pid')}/{started_ticks}"
    except (OSError, IndexError, UnicodeDecodeError):
        return None


def arguments(argv: Sequence[str]) -> list[str]:
    """Return a command line without what looks like a secret, and cut where it is very long."""
    kept, room = [], _ARGV_MOST_CHARS
    for argument in argv:
        argument = str(argument)[:room]
        room -= len(argument)
        kept.append(argument)
        if not room:
            break
    return redact.arguments(kept)


def working_folder() -> str | None:
    """Return the folder this process is in; None when it is gone."""
    try:
        return os.getcwd()
    except OSError:
        return None
