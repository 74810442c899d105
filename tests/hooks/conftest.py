"""Hooks as slurmd runs them: real processes with nothing but Slurm's variables, and a spool that a test may spoil."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tracker.events import parse_hook_event

ALICE = 12_345  # no such user is needed: Slurm gives numbers
JOB = {
    "SLURM_CLUSTER_NAME": "dev",
    "SLURM_JOB_ID": "12",
    "SLURM_JOB_UID": str(ALICE),
    "SLURM_JOB_GID": str(ALICE),
    "SLURM_JOB_USER": "alice",
    "SLURMD_NODENAME": "n1",
    "SLURM_JOB_GPUS": "0,1",
    "CUDA_VISIBLE_DEVICES": "0,1",
}


class Node:
    """A node with hooks in `hooks` and a spool in `spool`."""

    def __init__(self, folder: Path) -> None:
        self.hooks, self.spool = folder / "hooks", folder / "spool"
        self.hooks.mkdir()
        for script in (ROOT / "slurm_hooks").glob("*.sh"):
            shutil.copy(script, self.hooks)
        self.configure(str(self.spool))

    def configure(self, spool: str) -> None:
        (self.hooks / "hooks.conf").write_text(f"spool={spool}\n")

    def run(self, hook: str, *, shell: str = "/bin/sh", uid: int = 0, **variables: str | None) -> str:
        """Run a hook and return what it printed. Fails unless it succeeds in silence, as slurmd wants it."""
        env = {name: value for name, value in {**JOB, **variables}.items() if value is not None}
        done = subprocess.run(
            [*shell.split(), self.hooks / f"{hook}.sh"],
            env=env,
            cwd="/",
            capture_output=True,
            text=True,
            timeout=60,
            user=uid,
            group=uid,
            extra_groups=[],
            check=False,
        )
        assert done.returncode == 0
        assert done.stderr == ""
        return done.stdout

    def events(self, hook: str) -> list[dict[str, str]]:
        files = sorted((self.spool / "events").glob(f"{hook}.*.event"))
        return [parse_hook_event(file.read_bytes()) for file in files]

    def job_folder(self) -> Path:
        return self.spool / "jobs" / "dev.12"


@pytest.fixture
def node() -> Iterator[Node]:
    # Users must reach it, which pytest's own folders do not allow.
    folder = Path(tempfile.mkdtemp(prefix="tracker-hooks-"))
    folder.chmod(0o755)
    yield Node(folder)
    for mounted in (folder / "spool", folder / "spool" / "events"):
        if os.path.ismount(mounted):
            subprocess.run(["umount", "-l", mounted], check=True)
    shutil.rmtree(folder)
