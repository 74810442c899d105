"""Scripts that use the client, run as processes of their own, and the lines they leave."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT

JOB = {"SLURM_CLUSTER_NAME": "dev", "SLURM_JOB_ID": "12", "SLURMD_NODENAME": "n1", "SLURM_PROCID": "0"}


class Scripts:
    """Runs scripts with a home of their own; in a Slurm job when `env` says so."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.python = sys.executable
        self.env = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "HOME": str(home),
            "TRACKER_HOME": str(home / "t"),
        }

    def start(self, code: str, **env: str) -> subprocess.Popen[str]:
        return self._start(["-W", "error", "-c", "import tracker\n" + textwrap.dedent(code)], env)

    def _start(self, arguments: list[str], env: dict[str, str]) -> subprocess.Popen[str]:
        command, pipe = [self.python, *arguments], subprocess.PIPE
        return subprocess.Popen(command, env={**self.env, **env}, cwd=self.home, stdout=pipe, stderr=pipe, text=True)

    def run(self, code: str, exit_code: int = 0, **env: str) -> subprocess.CompletedProcess[str]:
        """Run a script to its end and check how it ended."""
        return self._ended(self.start(code, **env), exit_code)

    def run_file(self, name: str, exit_code: int = 0, **env: str) -> subprocess.CompletedProcess[str]:
        """Run a script that is a file, as `multiprocessing` wants it, to its end."""
        return self._ended(self._start([name], env), exit_code)

    def _ended(self, script: subprocess.Popen[str], exit_code: int) -> subprocess.CompletedProcess[str]:
        stdout, stderr = script.communicate(timeout=60)
        assert script.returncode == exit_code, stderr
        return subprocess.CompletedProcess(script.args, script.returncode, stdout, stderr)

    def folders(self) -> list[Path]:
        return sorted((self.home / "t" / "spool" / "jobs").glob("*"))

    def messages(self, folder: Path | None = None) -> list[dict[str, Any]]:
        """All lines of all writers of the only folder, or of the one given; files in no order."""
        (folder,) = [folder] if folder else self.folders()
        return [message for file in sorted(folder.glob("*.jsonl")) for message in read_lines(file)]

    def points(self) -> list[tuple[Any, Any]]:
        """(step, metrics) of all lines of points."""
        return [(one.get("step"), one["metrics"]) for one in self.messages() if "metrics" in one]

    def event(self, kind: str) -> dict[str, Any]:
        """The only line of this kind."""
        (found,) = [one for one in self.messages() if one.get("event") == kind]
        return found


def read_lines(file: Path) -> list[dict[str, Any]]:
    """The whole lines of a spool file; a line that is no JSON fails the test."""
    return [json.loads(line) for line in file.read_bytes().split(b"\n")[:-1] if line]


@pytest.fixture
def scripts(tmp_path: Path) -> Scripts:
    return Scripts(tmp_path)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 64 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", disk], check=True)
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)
