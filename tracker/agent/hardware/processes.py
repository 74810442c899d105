"""What /proc tells of processes: whose they are, what they use, and which of them belong to a job.

Users write names and environments of their processes, so only processes of the job's own user are ever looked at.
"""

from __future__ import annotations

import os
from typing import Iterable, NamedTuple

ROOT = "/proc"
MOST_PROCESSES = 4096  # of one job
_MOST_ENVIRON_BYTES = 256 * 1024
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class Process(NamedTuple):
    """A process. `cpu_s` includes its children that have ended and were waited for; the start is in clock ticks."""

    pid: int
    parent: int
    started_ticks: int
    cpu_s: float


class Transfer(NamedTuple):
    """Bytes that came from and went to storage since the start of the processes."""

    read_bytes: int
    written_bytes: int


def of_users(root: str, uids: Iterable[int]) -> dict[int, dict[int, Process]]:
    """Return the processes of these users, by user and process id."""
    found: dict[int, dict[int, Process]] = {uid: {} for uid in uids}
    for name in os.listdir(root) if found else []:
        if not name.isdigit():
            continue
        try:
            uid = os.stat(f"{root}/{name}").st_uid
        except OSError:
            continue  # it ended
        process = read(root, int(name)) if uid in found else None
        if process is not None:
            found[uid][process.pid] = process
    return found


def read(root: str, pid: int) -> Process | None:
    """Return a process; None when it is gone."""
    raw = _read(f"{root}/{pid}/stat")
    # The program's name stands in parentheses and may hold anything; the fields count from the state behind it.
    fields = raw.rpartition(b")")[2].split()
    if len(fields) < 20 or fields[0] in (b"Z", b"X"):
        return None
    cpu_ticks = sum(int(field) for field in fields[11:15])  # utime stime cutime cstime of proc_pid_stat(5)
    return Process(pid, int(fields[1]), int(fields[19]), cpu_ticks / _TICKS_PER_S)


def families(known: dict[int, Process], roots: Iterable[int]) -> list[int]:
    """Return these processes and all that descend from them, as far as they are known."""
    children: dict[int, list[int]] = {}
    for process in known.values():
        children.setdefault(process.parent, []).append(process.pid)
    found: list[int] = []
    ahead, seen = [pid for pid in roots if pid in known], set()
    while ahead and len(found) < MOST_PROCESSES:
        pid = ahead.pop()
        if pid not in seen:
            seen.add(pid)
            found.append(pid)
            ahead.extend(children.get(pid, []))
    return found


def of_job(root: str, known: dict[int, Process], node: str, cluster: str, job_id: int) -> list[int]:
    """Return the processes whose environment says that they run in this job on this node, and their descendants.

    For where Slurm makes no control groups. Of a het job the id of its leader is asked for, as its spool folder is.
    """
    roots = [pid for pid in known if _is_in_job(_environ(root, pid), node, cluster, job_id)]
    return families(known, roots)


def memory_bytes(root: str, pids: Iterable[int]) -> int:
    """Return the memory of processes: their own pages, and of the shared pages once what one of them maps at most."""
    own, shared = 0, 0
    for pid in pids:
        for line in _read(f"{root}/{pid}/status").splitlines():
            if line.startswith(b"RssAnon:"):
                own += int(line.split()[1]) * 1024
            elif line.startswith(b"RssShmem:"):
                shared = max(shared, int(line.split()[1]) * 1024)
    return own + shared


def transfer(root: str, pids: Iterable[int]) -> Transfer | None:
    """Return what processes read and wrote at the storage layer (proc_pid_io(5)); None where the kernel tells nothing.

    A process's counts include its children that have ended and were waited for.
    """
    read_bytes, written_bytes, told = 0, 0, False
    for pid in pids:
        for line in _read(f"{root}/{pid}/io").splitlines():
            if line.startswith(b"read_bytes:"):
                read_bytes, told = read_bytes + int(line.split()[1]), True
            elif line.startswith(b"write_bytes:"):
                written_bytes += int(line.split()[1])
    return Transfer(read_bytes, written_bytes) if told else None


def _is_in_job(environ: dict[bytes, bytes], node: str, cluster: str, job_id: int) -> bool:
    said = str(job_id).encode()
    ids = [environ.get(name) for name in (b"SLURM_JOB_ID", b"SLURM_HET_JOB_ID", b"SLURM_JOB_ID_HET_GROUP_0")]
    return (
        said in ids
        and environ.get(b"SLURMD_NODENAME") == node.encode()
        and environ.get(b"SLURM_CLUSTER_NAME") == cluster.encode()
    )


def _environ(root: str, pid: int) -> dict[bytes, bytes]:
    pairs = (record.partition(b"=") for record in _read(f"{root}/{pid}/environ").split(b"\0"))
    return {name: value for name, _, value in pairs if name.startswith(b"SLURM")}


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(_MOST_ENVIRON_BYTES)
    except OSError:
        return b""  # it ended, or is not ours to read
