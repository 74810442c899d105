"""What an agent costs a node while there is nothing to ship: processor time and memory, with and without jobs."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench._figures import Row, Table, play, progress
from lab.place import CHECKOUT

WINDOW_S = 60.0
SETTLE_S = 8.0
JOBS = (0, 4)
BAR_PERCENT, BAR_MIB = 0.2, 40.0
NODE = "bench-n1"
_USER = 65534 if os.geteuid() == 0 else os.geteuid()  # jobs belong to users, and only their processes are read
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def measure() -> list[Table]:
    """One row for each number of jobs."""
    with _folder() as folder, _server(folder) as environ:
        rows = [_row(folder, environ, jobs) for jobs in JOBS]
    return [Table(f"an agent for {WINDOW_S:g} s, samples every 15 s; its sampler counted in", rows)]


def _row(folder: Path, environ: dict[str, str], jobs: int) -> Row:
    progress(f"  {jobs} jobs, {WINDOW_S:g} s")
    spool = folder / f"spool-{jobs}"
    for number in range(1, jobs + 1):
        (spool / "jobs" / f"bench.{number}").mkdir(parents=True, mode=0o700)
        line = '{"metrics":{"loss":0.5},"step":0}\n'
        (spool / "jobs" / f"bench.{number}" / "w1.jsonl").write_text(line)
        for path in (spool / "jobs" / f"bench.{number}" / "w1.jsonl", spool / "jobs" / f"bench.{number}"):
            os.chown(path, _USER, -1)
    (spool / "jobs").mkdir(parents=True, exist_ok=True)
    (spool / "events").mkdir(mode=0o700)
    sleepers = [_job(number) for number in range(1, jobs + 1)]
    command = [sys.executable, "-m", "tracker", "agent", "--spool", str(spool), "--node", NODE, "--cluster", "bench"]
    agent = subprocess.Popen(command, env=environ, stderr=subprocess.DEVNULL)
    try:
        time.sleep(SETTLE_S)
        before = {pid: _cpu_s(pid) for pid in _family(agent.pid)}
        time.sleep(WINDOW_S)
        family = _family(agent.pid)
        used_s = sum(_cpu_s(pid) for pid in family) - sum(before[pid] for pid in family if pid in before)
        return {
            "": f"{jobs} quiet jobs" if jobs else "no job",
            "% of a core": used_s / WINDOW_S * 100,
            "bar %": BAR_PERCENT,
            "resident MiB": sum(_resident_mib(pid) for pid in family),
            "bar MiB": BAR_MIB,
            "processes": len(family),
        }
    finally:
        for process in (agent, *sleepers):
            process.terminate()
            process.wait()


def _job(number: int) -> subprocess.Popen[bytes]:
    environ = {"SLURM_JOB_ID": str(number), "SLURM_CLUSTER_NAME": "bench", "SLURMD_NODENAME": NODE}
    return subprocess.Popen([shutil.which("sleep") or "sleep", "600"], env=environ, user=_USER)


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="tracker-bench-") as name:
        yield Path(name)


@contextmanager
def _server(folder: Path) -> Iterator[dict[str, str]]:
    """`tracker up`, as a site has it but for Slurm; the environment of an agent that knows it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environ = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(folder),
        "TRACKER_HOME": str(folder / "home"),
        "PYTHONPATH": str(CHECKOUT),
    }
    command = [sys.executable, "-m", "tracker", "up", "--port", str(port)]
    with (folder / "server.log").open("wb") as log:
        server = subprocess.Popen(command, env={**environ, "TRACKER_WATCH_USERS": "self"}, stdout=log, stderr=log)
    try:
        while not (folder / "home" / "server.json").exists():
            if server.poll() is not None:
                raise ChildProcessError((folder / "server.log").read_text())
            time.sleep(0.1)
        yield environ
    finally:
        server.terminate()
        server.wait()


def _family(pid: int) -> list[int]:
    """A process and its children."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *map(int, children)]


def _cpu_s(pid: int) -> float:
    """Processor time of a process and of its children that have ended."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / _TICKS_PER_S


def _resident_mib(pid: int) -> float:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Rss:")) / 1024


if __name__ == "__main__":
    sys.exit(play("agent", __doc__ or "", measure))
