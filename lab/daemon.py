"""A daemon of a lab: started, awaited and stopped, and never taken for somebody else's process."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from lab.place import LabError, Place

MARK = "TRACKER_LAB_DAEMON"  # in the environment of each process that a lab starts: "<lab folder>:<daemon>"
_children: dict[int, subprocess.Popen[bytes]] = {}


def environ_of(pid: int) -> dict[str, str]:
    """The environment a process was started with; empty when it is gone, a zombie or not ours to read."""
    try:
        raw = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return {}
    pairs = (record.partition(b"=") for record in raw.split(b"\0"))
    return {os.fsdecode(key): os.fsdecode(value) for key, _, value in pairs}


def all_pids() -> Iterator[int]:
    """Every process of this machine, oldest id first, except this one."""
    names = (entry.name for entry in Path("/proc").iterdir())
    yield from sorted(int(name) for name in names if name.isdigit() and int(name) != os.getpid())


def is_alive(pid: int) -> bool:
    """Whether the process runs; a zombie does not."""
    _bury()
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def _bury() -> None:
    """Take note of our children that have ended, by whoever's hand."""
    for pid in [pid for pid, child in list(_children.items()) if child.poll() is not None]:
        _children.pop(pid, None)  # another thread may have been here


def wait_until(answer: Callable[[], bool], *, within_s: float, pause_s: float = 0.05) -> bool:
    """Ask until the answer is yes; False when it was no for `within_s` seconds."""
    deadline = time.monotonic() + within_s
    while not answer():
        if time.monotonic() > deadline:
            return False
        time.sleep(pause_s)
    return True


def end(pids: Sequence[int], *, patience_s: float) -> None:
    """Ask processes to end, and after `patience_s` seconds kill those that are left."""
    _bury()
    for number, wait_s in ((signal.SIGTERM, patience_s), (signal.SIGKILL, 5.0)):
        left = [pid for pid in pids if is_alive(pid)]
        for pid in left:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue
        if wait_until(lambda: not any(is_alive(pid) for pid in pids), within_s=wait_s):
            return


class Daemon:
    """One daemon of a lab, known by a pid file and by the mark in its environment."""

    def __init__(self, at: Place, name: str, argv: Sequence[str | Path], env: Mapping[str, str] | None = None) -> None:
        self.at = at
        self.name = name
        self.argv = [str(word) for word in argv]
        self.env = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "SLURM_CONF": str(at.slurm_conf)}
        self.env.update(env or {})
        self.env[MARK] = f"{at.root}:{name}"
        self.pid_file = at.run / f"{name}.lab-pid"
        self.log_file = at.log / f"{name}.out"

    def pid(self) -> int | None:
        """The running daemon's process; None when it does not run."""
        try:
            pid = int(self.pid_file.read_text())
        except (FileNotFoundError, ValueError):
            return None
        if not is_alive(pid):
            return None
        # A pid file outlives a crash and its number may be another program's by now. A child's number is its own, and
        # just after its start its environment cannot be read yet.
        return pid if pid in _children or environ_of(pid).get(MARK) == self.env[MARK] else None

    def start(self) -> None:
        """Start it unless it runs."""
        if self.pid():
            return
        with self.log_file.open("ab") as log:
            # A daemon that keeps a pipe of ours open would block the caller for ever: no pipes.
            child = subprocess.Popen(
                self.argv,
                env=self.env,
                cwd=self.at.log,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        _children[child.pid] = child
        self.pid_file.write_text(f"{child.pid}\n")

    def wait_ready(self, ready: Callable[[], bool], *, within_s: float = 120) -> None:
        """Wait until `ready` says yes. Raises LabError when the daemon ends before, or too much time goes by."""
        if wait_until(lambda: ready() or not self.pid(), within_s=within_s) and ready():
            return
        problem = f"is not ready after {within_s:g} s" if self.pid() else "ended at its start"
        raise LabError(f"{self.name} {problem}; its last words in {self.log_file}:\n{self.last_words()}")

    def last_words(self, lines: int = 12) -> str:
        """The end of its log, each line indented."""
        text = self.log_file.read_text(errors="replace") if self.log_file.exists() else ""
        return "\n".join(f"    {line}" for line in text.splitlines()[-lines:])

    def stop(self, *, patience_s: float = 20) -> None:
        """Stop it, if it runs; SIGKILL after `patience_s` seconds."""
        pid = self.pid()
        if pid:
            end([pid], patience_s=patience_s)
        self.pid_file.unlink(missing_ok=True)

    def kill(self) -> None:
        """End it without a word, as a crash would."""
        pid = self.pid()
        if pid:
            os.kill(pid, signal.SIGKILL)
            wait_until(lambda: not is_alive(pid), within_s=5)
        self.pid_file.unlink(missing_ok=True)
