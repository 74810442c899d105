"""The trackers that ours is measured beside: their own Python environment, and a server for MLflow."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path

import lab.setup
from bench._figures import progress
from lab.place import CHECKOUT, LabError, free_port

PINS = CHECKOUT / "bench" / "peers.txt"
SERVER_WITHIN_S = 240
NO_NETWORK = {
    "WANDB_MODE": "offline",
    "WANDB_SILENT": "true",
    "WANDB_ERROR_REPORTING": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "GRADIO_ANALYTICS_ENABLED": "False",
    "GIT_PYTHON_REFRESH": "quiet",
}


@dataclass(frozen=True)
class Tracker:
    """A column of the tables: who is measured, by which Python, and which module of it is loaded first."""

    name: str  # as _in_process.py knows it
    title: str
    python: str
    module: str
    env: dict[str, str] = field(default_factory=dict)
    has_queue: bool = True  # whether points may be lost with the process

    @property
    def is_ours(self) -> bool:
        """Whether this is the tracker of this repository."""
        return self.module == "tracker"


OURS = (
    Tracker("tracker", "tracker", sys.executable, "tracker"),
    Tracker("tracker-json", "tracker, json", sys.executable, "tracker"),
)
PEERS = {
    "trackio": "trackio",
    "tensorboardX": "tensorboardX",
    "wandb": "wandb offline",
    "mlflow": "MLflow",
    "mlflow-async": "MLflow async",
}


def versions() -> dict[str, str]:
    """What the pins say of the peers themselves."""
    found = dict(re.findall(r"^([\w-]+)==(\S+)$", PINS.read_text(), re.MULTILINE))
    return {name: found[name] for name in ("trackio", "tensorboardX", "wandb", "mlflow", "uvloop")}


def peers_python() -> Path:
    """The Python of all peers, made on first use and whenever the pins change. Raises LabError with the way out."""
    progress("the peers' libraries")
    with redirect_stdout(sys.stderr):
        return lab.setup.make_peers_python(PINS)


@contextmanager
def peers(names: list[str], python: Path, place: Path) -> Iterator[list[Tracker]]:
    """Yield these peers, ready to be measured; MLflow's server runs meanwhile."""
    if not any(name.startswith("mlflow") for name in names):
        yield [_peer(name, python) for name in names]
        return
    folder = place / "mlflow-server"
    with mlflow_server(python, folder, f"sqlite:///{folder}/mlflow.db") as (url, _):
        yield [_peer(name, python, url) for name in names]


def _peer(name: str, python: Path, mlflow_url: str = "") -> Tracker:
    env = {**NO_NETWORK, **({"MLFLOW_TRACKING_URI": mlflow_url} if name.startswith("mlflow") else {})}
    return Tracker(name, PEERS[name], str(python), name.partition("-")[0], env)


@contextmanager
def mlflow_server(python: Path, folder: Path, database: str) -> Iterator[tuple[str, int]]:
    """Run `mlflow server` as it comes, on loopback, with uvloop: without it a stall of TCP is measured.

    Yields its address and the id of its first process.
    """
    progress("  MLflow's server")
    folder.mkdir()
    port = free_port(27_500)
    env = {
        **NO_NETWORK,
        "PATH": f"{python.parent}:/usr/bin:/bin",
        "HOME": str(folder),
        "LANG": "C.UTF-8",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # workers for evaluations, which nobody asks for here
    }
    store = ["--backend-store-uri", database, "--artifacts-destination", f"{folder}/artifacts"]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [str(python), "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), *store],
            env=env,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        url = f"http://127.0.0.1:{port}"
        _wait_for(url, server, folder / "log")
        yield url, server.pid
    finally:
        _end_group(server)


def _wait_for(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline_s = time.monotonic() + SERVER_WITHIN_S
    while time.monotonic() < deadline_s and server.poll() is None:
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    last = "\n".join(log.read_text(errors="replace").splitlines()[-5:])
    raise LabError(f"MLflow's server did not start: --peers or --no-peers leaves it out. Its last words:\n{last}")


def _end_group(server: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(server.pid, number)
            server.wait(10)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            continue
