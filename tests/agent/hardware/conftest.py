"""Hardware to sample: processes that are busy, and an NVML of air that is compiled and loaded like the real one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import wait_until
from tracker.agent.hardware import processes
from tracker.agent.hardware.gpus import Gpus
from tracker.agent.hardware.job import Roots, Target
from tracker.agent.hardware.sampler import Sampler
from tracker.client.identity import process_identity

MIB = 1024 * 1024
IDLE_GPU = "0 0 80000000000 70000 30"
BUSY = "while True: pass"
CLUSTER = f"t{uuid.uuid4().hex[:8]}"  # other tests on this machine have a job 12 of dev on n1
IN_JOB = {"SLURM_JOB_ID": "12", "SLURM_CLUSTER_NAME": CLUSTER, "SLURMD_NODENAME": "n1"}


class FakeNvml:
    """The library of fake_nvml.c and what it is to say."""

    def __init__(self, library: Path, state: Path) -> None:
        self.library, self.state = library, state
        self.says()

    def says(self, *devices: str, init: str = "0") -> None:
        """What it says from now on: the words of fake_nvml.c."""
        fresh = self.state.with_suffix(".new")
        fresh.write_text("\n".join([init, *devices]) + "\n")
        fresh.rename(self.state)

    @property
    def env(self) -> dict[str, str]:
        """The environment of a process that finds it."""
        return {"LD_LIBRARY_PATH": str(self.library.parent), "FAKE_NVML": str(self.state)}


@pytest.fixture(scope="session")
def nvml_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    library = tmp_path_factory.mktemp("nvml") / "libnvidia-ml.so.1"
    source = Path(__file__).with_name("fake_nvml.c")
    subprocess.run(["cc", "-shared", "-fPIC", "-Wall", "-Wextra", "-Werror", "-o", library, source], check=True)
    return library


@pytest.fixture
def nvml(nvml_library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeNvml:
    fake = FakeNvml(nvml_library, tmp_path / "nvml-state")
    monkeypatch.setenv("FAKE_NVML", str(fake.state))
    return fake


Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a Python program that lives as long as the test at most; returns as soon as the program runs."""
    started: list[subprocess.Popen[bytes]] = []

    def call(code: str, **env: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-S", "-c", f"print(flush=True)\n{code}"]
        process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, start_new_session=True)
        started.append(process)
        assert process.stdout is not None
        process.stdout.readline()
        return process

    yield call
    for process in started:
        end(process)
        assert process.stdout is not None
        process.stdout.close()


def end(process: subprocess.Popen[bytes]) -> None:
    """End a program and all that it started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def script(process: subprocess.Popen[bytes], folder: str = "local." + "a" * 32) -> Target:
    """A run outside Slurm of this process."""
    identity = process_identity(process.pid)
    assert identity is not None
    return Target(folder, os.geteuid(), None, None, ((process.pid, int(identity.rpartition("/")[2])),), ())


def slurm_job(uid: int, job_id: int = 12, gpus: tuple[int, ...] = ()) -> Target:
    return Target(f"{CLUSTER}.{job_id}", uid, CLUSTER, job_id, (), gpus)


class Watch:
    """A sampler that looks when it is told to."""

    def __init__(
        self,
        *targets: Target,
        gpus: Gpus | None = None,
        roots: Roots | None = None,
        node: str = "n1",
        every_s: float = 15,
    ) -> None:
        self.said: list[str] = []
        self.sampler = Sampler(node, every_s, gpus or Gpus(None, self.said.append), roots or Roots())
        self.sampler.watch(targets)
        self.lines: list[tuple[str, dict[str, Any]]] = []

    def look(self) -> list[dict[str, Any]]:
        """Look now; the metrics of samples that were due."""
        found = [(target.folder, line) for target, line in self.sampler.look(time.monotonic())]
        self.lines += found
        return [line["metrics"] for _, line in found if "metrics" in line]

    def first_sample(self) -> dict[str, float]:
        """The first sample, half a second and more after the first look."""
        self.look()
        found: list[dict[str, Any]] = []
        wait_until(lambda: found.extend(self.look()) or found, pause_s=0.3, what="a sample")
        return found[0]


def cpu_s(pid: int) -> float:
    process = processes.read("/proc", pid)
    assert process is not None
    return process.cpu_s
