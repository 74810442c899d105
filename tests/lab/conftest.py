"""A lab of these tests' own, as they tear it down and crash it, and a checkout that belongs to alice."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab import users
from lab.cluster import Cluster
from lab.place import CHECKOUT
from tests.conftest import mark_ours, wait_until

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run() -> Run:
    """`./run` with these words, as a person would call it."""

    def call(*words: str, timeout_s: float = 120, **more: object) -> subprocess.CompletedProcess[str]:
        argv = [str(CHECKOUT / "run"), *words]
        return subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout_s, **more)  # type: ignore[call-overload,no-any-return]

    return call


@pytest.fixture(scope="module")
def crashlab() -> Iterator[Cluster]:
    """A cluster of one node that a test may do anything to; the next test finds it up again."""
    cluster = Cluster("crashlab", nodes=1, gpus=1)
    cluster.remove()
    mark_ours(cluster)
    yield cluster
    cluster.remove()


@pytest.fixture
def cluster(crashlab: Cluster) -> Cluster:
    crashlab.up()
    return crashlab


@pytest.fixture(scope="package")
def checkout_of_alice() -> Iterator[Path]:
    """A clone in a folder of alice's, without anything that a set-up makes."""
    users.make_users()
    alice = pwd.getpwnam("alice")
    folder = Path(tempfile.mkdtemp(prefix="tracker-checkout-"))
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=CHECKOUT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    for name in filter(None, listed.stdout.split("\0")):
        if (CHECKOUT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(CHECKOUT / name, folder / name)
    for path in (folder, *folder.rglob("*")):
        os.chown(path, alice.pw_uid, alice.pw_gid)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="package")
def repaired_checkout(checkout_of_alice: Path) -> Path:
    """That clone after a set-up without root, which was killed half-way and started again."""
    alice = pwd.getpwnam("alice")
    first = subprocess.Popen(
        ["./run", "setup"], cwd=checkout_of_alice, user=alice.pw_uid, group=alice.pw_gid, extra_groups=[],
        env=environment_of_alice(), stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    installed = checkout_of_alice / ".venv" / "lib"
    wait_until(lambda: list(installed.glob("python3*/site-packages/hatchling")), within_s=300)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    again = as_alice(checkout_of_alice, "./run", "setup", timeout_s=600)
    assert again.returncode == 0, again.stdout + again.stderr
    return checkout_of_alice


def environment_of_alice() -> dict[str, str]:
    """Nothing of ours but what package tools are told by way of the environment."""
    told = (
        "PIP_",
        "NODE_",
        "NPM_CONFIG_",
        "npm_config_",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "http_proxy",
        "https_proxy",
        "SSL_CERT",
    )
    kept = {name: value for name, value in os.environ.items() if name.startswith(told)}
    own = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8", "HOME": "/home/alice"}
    return {**kept, **own, "PIP_NO_COMPILE": "1"}  # what is used is compiled then


def as_alice(
    folder: Path, *words: str, env: dict[str, str] | None = None, timeout_s: float = 120
) -> subprocess.CompletedProcess[str]:
    """A command as alice in a folder, in a clean environment."""
    return users.run_as("alice", words, env={**environment_of_alice(), **(env or {})}, cwd=folder, timeout_s=timeout_s)
