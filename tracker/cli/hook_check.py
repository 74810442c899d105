"""Looks over installed hooks and tries each of them with a made-up job, as slurmd would run it."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Callable, Iterator, NamedTuple

from tracker.cli import hook_files
from tracker.errors import SetupProblem, TrackerError
from tracker.events import parse_hook_event

NOBODY = 65534
MADE_UP_JOB = {
    "SLURM_CLUSTER_NAME": "check",
    "SLURM_JOB_ID": "4294967294",
    "SLURM_JOB_UID": str(NOBODY),
    "SLURM_JOB_GID": str(NOBODY),
    "SLURM_JOB_COMMENT": "$(exit 1); `exit 1`\nSLURM_JOB_ID=1",
    "SLURMD_NODENAME": "check",
}


class Finding(NamedTuple):
    """What was looked at, whether it is right, and what was seen."""

    name: str
    ok: bool
    detail: str


def look_over(directory: Path) -> Iterator[Finding]:
    """Check files, spool and slurm.conf, then run the hooks. Most important first."""
    hook_files.require_root("Checking hooks")
    for script in hook_files.HOOKS.values():
        yield _found(script, partial(_file, directory / script, permissions=0o555))
    for name in (hook_files.COMMON, hook_files.CONF):
        yield _found(name, partial(_file, directory / name, permissions=0o444))
    yield _found("folders", lambda: _folders(directory))
    yield _found("spool", lambda: _spool(directory))
    yield _found("slurm.conf", lambda: _slurm_conf(directory))
    with tempfile.TemporaryDirectory(prefix="tracker-hooks-") as scratch:
        trial = Trial(directory, Path(scratch))
        yield _found("run Prolog", lambda: trial.event("prolog"))
        yield _found("run TaskProlog", trial.task_prolog)
        yield _found("run Epilog", lambda: trial.event("epilog"))


def _found(name: str, look: Callable[[], str]) -> Finding:
    try:
        return Finding(name, True, look())
    except TrackerError as problem:
        return Finding(name, False, str(problem))
    except (OSError, subprocess.SubprocessError) as problem:
        return Finding(name, False, f"{problem}: repair it with `tracker hooks install`.")


def _file(path: Path, *, permissions: int) -> str:
    status = path.lstat()
    if not stat.S_ISREG(status.st_mode):
        raise SetupProblem(f"{path} is no ordinary file: install the hooks again.")
    hook_files.check_owner(path)
    if status.st_mode & permissions != permissions:
        raise SetupProblem(f"{path} needs the permissions {permissions:o} for all users: install the hooks again.")
    if path.read_text(encoding="utf-8") == hook_files.DO_NOTHING:
        raise SetupProblem(f"{path} does nothing, the hooks were uninstalled: install them again.")
    return str(path)


def _folders(directory: Path) -> str:
    for folder in (directory, *directory.parents):
        if not folder.stat().st_mode & stat.S_ISVTX:
            hook_files.check_owner(folder)
        if not folder.stat().st_mode & stat.S_IXOTH:
            raise SetupProblem(f"Users cannot reach {directory}, TaskProlog would fail their jobs: chmod o+x {folder}")
    return f"only root may change {directory}"


def _spool(directory: Path) -> str:
    spool = hook_files.read_conf(directory).get("spool", "")
    hook_files.check_spool(spool)
    if "%n" in spool:
        node = os.environ.get("SLURMD_NODENAME")
        if not node:
            return f"{spool}, made by the Prolog of each node"
        spool = spool.replace("%n", node)
    for folder in (Path(spool), Path(spool, "jobs"), Path(spool, "events")):
        if not folder.is_dir():
            raise SetupProblem(f"{folder} is no folder: `tracker hooks install` makes it.")
        hook_files.check_owner(folder)
    with tempfile.TemporaryFile(dir=Path(spool, "events")) as file:
        file.write(bytes(4096))
    return f"{spool}, {shutil.disk_usage(spool).free // 2**20} MiB free"


def _slurm_conf(directory: Path) -> str:
    slurm_conf = hook_files.find_slurm_conf()
    if slurm_conf is None:
        raise SetupProblem("No slurm.conf was found: set SLURM_CONF to its path.")
    named = hook_files.hook_lines(slurm_conf)
    for option, script in hook_files.HOOKS.items():
        values = [line.value for line in named if line.option == option]
        if not values:
            raise SetupProblem(f"{slurm_conf} lacks the line {option}={directory / script}")
        if str(directory / script) not in values:
            return f"{slurm_conf} names another {option}, {values[0]}: see that it calls {directory / script}"
    return f"{slurm_conf} names the hooks"


class Trial:
    """A copy of the hooks beside a spool of their own, so that trying them leaves no trace in the real one."""

    def __init__(self, directory: Path, scratch: Path) -> None:
        scratch.chmod(0o755)  # TaskProlog runs as the job's user
        self.directory, self.spool = scratch / "hooks", scratch / "spool"
        self.directory.mkdir()
        for name in (*hook_files.HOOKS.values(), hook_files.COMMON):
            if (directory / name).is_file():
                shutil.copy(directory / name, self.directory / name)
        (self.directory / hook_files.CONF).write_text(f"spool={self.spool}\n", encoding="utf-8")

    def event(self, hook: str) -> str:
        """Run Prolog or Epilog and read the event it leaves."""
        took_ms, _ = self._run(f"{hook}.sh", as_user=False)
        events = list((self.spool / "events").glob(f"{hook}.*.event"))
        if len(events) != 1:
            raise SetupProblem(f"{hook}.sh left no event: install the hooks again.")
        expected: dict[str, str] = {"HOOK": hook, **MADE_UP_JOB}
        if parse_hook_event(events[0].read_bytes()) != expected:
            raise SetupProblem(f"{hook}.sh left an event of another form: install the hooks again.")
        return f"one event in {took_ms:.0f} ms"

    def task_prolog(self) -> str:
        """Run TaskProlog as nobody and read the variable it exports."""
        took_ms, printed = self._run("task_prolog.sh", as_user=True)
        folder = self.spool / "jobs" / f"{MADE_UP_JOB['SLURM_CLUSTER_NAME']}.{MADE_UP_JOB['SLURM_JOB_ID']}"
        if printed != f"export TRACKER_SPOOL={folder}\n":
            raise SetupProblem("task_prolog.sh did not find the job's folder: install the hooks again.")
        return f"finds the job's folder in {took_ms:.0f} ms"

    def _run(self, script: str, *, as_user: bool) -> tuple[float, str]:
        started = time.perf_counter()
        done = subprocess.run(
            ["/bin/sh", str(self.directory / script)],  # /tmp may be mounted noexec
            env=MADE_UP_JOB,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
            preexec_fn=_become_nobody if as_user else None,
        )
        return (time.perf_counter() - started) * 1000, done.stdout


def _become_nobody() -> None:
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)
