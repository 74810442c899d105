"""A node's spool, an agent as a process, and a server that may fail."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.agent.faulty_server import FaultyServer, serving
from tests.conftest import ROOT, wait_until

NOBODY = 65534  # a user that every machine knows


class Node:
    """A node with a spool as the hooks make it."""

    def __init__(self, folder: Path, server: FaultyServer) -> None:
        self.folder, self.spool, self.server = folder, folder / "spool", server
        for name, mode in ((".", 0o755), ("jobs", 0o755), ("events", 0o700)):
            (self.spool / name).mkdir(parents=True, exist_ok=True)
            (self.spool / name).chmod(mode)

    def job(self, name: str = "dev.12", uid: int = NOBODY) -> Path:
        """The folder of a job, owned by its user."""
        folder = self.spool / "jobs" / name
        folder.mkdir(mode=0o700, exist_ok=True)
        os.chown(folder, uid, uid)
        return folder

    def write(self, steps: range, folder: str = "dev.12", writer: str = "w1", uid: int = NOBODY) -> None:
        """Append points to a writer's file."""
        lines = "".join(json.dumps({"metrics": {"loss": step / 7}, "step": step}) + "\n" for step in steps)
        self.append(lines.encode(), folder, writer, uid)

    def append(self, raw: bytes, folder: str = "dev.12", writer: str = "w1", uid: int = NOBODY) -> None:
        file = self.job(folder, uid) / f"{writer}.jsonl"
        with file.open("ab") as opened:
            opened.write(raw)
        os.chown(file, uid, uid)

    def event(self, name: str, time_s: float = 1e9, **variables: object) -> None:
        said = {"HOOK": name.partition(".")[0], **variables, "END": 1}
        file = self.spool / "events" / f"{name}.event"
        file.write_bytes(b"".join(f"{key}={value}".encode() + b"\0" for key, value in said.items()))
        os.utime(file, (time_s, time_s))

    def command(self, *arguments: object) -> list[str]:
        options = ["--spool", str(self.spool), "--url", self.server.url, "--node", "n1", "--cluster", "dev"]
        return [sys.executable, "-m", "tracker.agent", *options, *map(str, arguments)]

    def ship(self, *arguments: object, exit_code: int = 0, **env: str) -> str:
        """Run `tracker agent --once` and return what it said."""
        command = self.command("--once", *arguments)
        done = subprocess.run(command, env=_env(env), capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == exit_code, done.stderr
        assert "Traceback" not in done.stderr
        return done.stderr

    @contextmanager
    def agent(self, *arguments: object, **env: str) -> Iterator[subprocess.Popen[Any]]:
        """An agent that runs while in the block."""
        command = self.command("--interval", 0.05, *arguments)
        with subprocess.Popen(command, env=_env(env), stderr=subprocess.PIPE, text=True) as process:
            yield process
            if process.poll() is None:
                process.terminate()
            assert process.stderr is not None
            said = process.stderr.read()
            process.wait()
            assert "Traceback" not in said, said

    def wait_shipped(self, steps: range, folder: str = "dev.12", within_s: float = 30) -> None:
        wait_until(lambda: len(self.server.steps(folder)) >= len(steps), within_s, what=f"{len(steps)} points shipped")
        assert self.server.steps(folder) == list(steps)


def _env(more: dict[str, str]) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error", "HOME": "/nowhere", **more}


@pytest.fixture
def server() -> Iterator[FaultyServer]:
    faulty = FaultyServer()
    with serving(faulty):
        yield faulty


@pytest.fixture
def node(server: FaultyServer) -> Iterator[Node]:
    # Users must reach it, which pytest's own folders do not allow.
    folder = Path(tempfile.mkdtemp(prefix="tracker-agent-"))
    folder.chmod(0o755)
    yield Node(folder, server)
    shutil.rmtree(folder)
