"""What an agent costs a node in processor time and memory: without jobs, beside silent ones, beside jobs that print."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import select

from bench._figures import Row, Table, play, progress
from lab.place import CHECKOUT
from tracker.store import logs
from tracker.store.database import Database
from tracker.store.tables import Log, Run

WINDOW_S = 60.0
SETTLE_S = 40.0  # the agent looks less often at what was silent for a while
BAR_PERCENT, BAR_MIB = 0.2, 40.0
NODE = "bench-n1"
# Jobs belong to users, and only their processes are read; without root they all are ours.
_USERS = (65534, 1, 2, 8) if os.geteuid() == 0 else (os.geteuid(),)
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class Case(NamedTuple):
    """So many jobs, whose outputs are followed or not, and of which so many print a line each second."""

    name: str
    jobs: int
    followed: bool = False
    printing: int = 0


CASES = (
    Case("no job", 0),
    Case("4 silent jobs", 4),
    Case("8 silent jobs of 4 users, outputs followed", 8, True),
    Case("the same, one prints a line a second", 8, True, 1),
)


def measure() -> list[Table]:
    """One row for each case."""
    with _folder() as folder, _server(folder) as environ:
        rows = [_row(folder / f"case-{number}", environ, case) for number, case in enumerate(CASES)]
    return [Table(f"an agent for {WINDOW_S:g} s, samples every 15 s; its sampler counted in", rows)]


def _row(folder: Path, environ: dict[str, str], case: Case) -> Row:
    progress(f"  {case.name}, {SETTLE_S + WINDOW_S:g} s")
    cluster = folder.name
    (folder / "spool" / "jobs").mkdir(parents=True)
    (folder / "spool" / "events").mkdir(mode=0o700)
    jobs = [_job(folder, number) for number in range(1, case.jobs + 1)]
    command = [sys.executable, "-m", "tracker", "agent", "--spool", str(folder / "spool"), "--node", NODE]
    agent = subprocess.Popen([*command, "--cluster", cluster], env=environ, stderr=subprocess.DEVNULL)
    over = threading.Event()
    printers = [threading.Thread(target=_print, args=(_output(folder, n), over)) for n in range(1, case.printing + 1)]
    try:
        if case.followed:
            _follow(folder, environ, case)
        for thread in printers:
            thread.start()
        time.sleep(SETTLE_S)
        before = {pid: _cpu_s(pid) for pid in _family(agent.pid)}
        time.sleep(WINDOW_S)
        family = _family(agent.pid)
        used_s = sum(_cpu_s(pid) for pid in family) - sum(before[pid] for pid in family if pid in before)
        return {
            "": case.name,
            "% of a core": used_s / WINDOW_S * 100,
            "bar %": BAR_PERCENT,
            "resident MiB": sum(_resident_mib(pid) for pid in family),
            "bar MiB": BAR_MIB,
            "processes": len(family),
        }
    finally:
        over.set()
        for process in (agent, *jobs):
            process.terminate()
            process.wait()
        for thread in printers:
            thread.join()


def _job(folder: Path, number: int) -> subprocess.Popen[bytes]:
    """A job that has logged and printed something, and sleeps."""
    user = _USERS[number % len(_USERS)]
    place = folder / "spool" / "jobs" / f"{folder.name}.{number}"
    place.mkdir(mode=0o700)
    (place / "w1.jsonl").write_text('{"metrics":{"loss":0.5},"step":0}\n')
    _output(folder, number).write_text("it begins\n")
    for path in (place / "w1.jsonl", place, _output(folder, number)):
        os.chown(path, user, -1)
    environ = {"SLURM_JOB_ID": str(number), "SLURM_CLUSTER_NAME": folder.name, "SLURMD_NODENAME": NODE}
    return subprocess.Popen([shutil.which("sleep") or "sleep", "600"], env=environ, user=user)


def _output(folder: Path, number: int) -> Path:
    return folder / f"slurm-{number}.out"


def _print(file: Path, over: threading.Event) -> None:
    while not over.wait(1.0):
        with file.open("a") as output:
            output.write("step 17 loss 0.25\n")


def _follow(folder: Path, environ: dict[str, str], case: Case) -> None:
    """Let the server follow the jobs' outputs, as it does when its watcher has seen their names in the queue."""
    db = Database(f"sqlite:///{environ['TRACKER_HOME']}/tracker.db")
    runs: list[Run] = []
    while len(runs) < case.jobs:
        time.sleep(0.2)
        with db.write() as session:
            runs = list(session.scalars(select(Run).where(Run.cluster == folder.name)))
            for run in runs if len(runs) == case.jobs else []:
                output, user = _output(folder, run.job_id or 0), _USERS[(run.job_id or 0) % len(_USERS)]
                logs.expect(session, [logs.Output(run.id, "stdout", str(output), NODE, user)])
    while True:
        with db.read() as session:
            followed = session.scalars(select(Log.offset_bytes).join(Run).where(Run.cluster == folder.name)).all()
        if all(followed):
            return db.close()
        time.sleep(0.2)


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="tracker-bench-") as name:
        Path(name).chmod(0o755)
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
