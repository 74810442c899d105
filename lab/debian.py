"""Debian's packages: what is missing is installed, and nothing is started by it."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from lab.place import LabError
from lab.progress import run_step

SLURM = (
    "slurmctld",
    "slurmd",
    "slurmdbd",
    "slurm-client",
    "slurm-wlm-basic-plugins",
    "slurm-wlm-mysql-plugin",
    "slurm-wlm-jwt-plugin",
    "slurmrestd",
    "munge",
    "mariadb-server",
)
TESTS = (
    "postgresql",
    "nginx",
    "redis-server",
    "chromium",
    "slapd",
    "fonts-dejavu-core",
    "gcc",
    "libc6-dev",
)  # a compiler for an NVML of air, a disk quota and an example
SERVICES = {
    "slurmctld": "slurmctld",
    "slurmd": "slurmd",
    "slurmdbd": "slurmdbd",
    "slurmrestd": "slurmrestd",
    "munge": "munge",
    "mariadb-server": "mariadb",
    "postgresql": "postgresql",
    "nginx": "nginx",
    "redis-server": "redis-server",
    "slapd": "slapd",
}

POLICY = Path("/usr/sbin/policy-rc.d")
POLICY_SAVED = Path("/usr/sbin/policy-rc.d.before-tracker-lab")
POLICY_MARK = "# tracker-lab: no service starts while its packages are installed"
NO_MAIN_CLUSTER = Path("/etc/postgresql-common/createcluster.d/tracker-lab.conf")
DPKG_LOCK = Path("/var/lib/dpkg/lock")
DPKG_PATIENCE_S = 300
ROOM_NEEDED_BYTES = 2_000_000_000


def missing(packages: Sequence[str]) -> list[str]:
    """Those of `packages` that are not fully installed."""
    argv = ["dpkg-query", "-W", "-f=${Package} ${db:Status-Status}\n", *packages]
    answer = subprocess.run(argv, capture_output=True, text=True, check=False).stdout
    present = {line.split()[0] for line in answer.splitlines() if line.endswith(" installed")}
    return [package for package in packages if package not in present]


def available() -> bool:
    """Whether this system has Debian's package tools."""
    return all(shutil.which(command) for command in ("apt-get", "dpkg-query"))


def install(packages: Sequence[str], log: Path) -> None:
    """Install packages as root; starts no service now nor at the next boot, makes no PostgreSQL cluster."""
    if shutil.disk_usage("/var").free < ROOM_NEEDED_BYTES:
        raise LabError("Debian packages need 2 GB of free disk space in /usr and /var: make room and start again")
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
    apt = ["apt-get", "-q", "-y", "-o", "DPkg::Lock::Timeout=300", "-o", "Acquire::Retries=3"]
    _wait_for_dpkg()
    with nothing_starts():
        repair = [["dpkg", "--configure", "-a", "--force-confdef", "--force-confold"]]
        run_step("list of Debian packages", [*repair, [*apt, "update"]], log=log, env=env)
        title = f"Debian packages: {' '.join(packages)}"
        run_step(title, [[*apt, "install", "--no-install-recommends", *packages]], log=log, env=env)
        _disable(packages)


def _disable(packages: Sequence[str]) -> None:
    """Keep the services that came with these packages from starting at the next boot."""
    units = [SERVICES[package] for package in packages if package in SERVICES]
    if units and shutil.which("systemctl"):
        subprocess.run(["systemctl", "--quiet", "disable", *units], capture_output=True, check=False)


def restore_policy() -> None:
    """Put back what an interrupted installation left changed. Nothing to do otherwise."""
    if not (POLICY_SAVED.exists() or NO_MAIN_CLUSTER.exists() or _is_ours(POLICY)):
        return
    _wait_for_dpkg()  # it outlives an apt-get that was killed, and must not start a service either
    if _is_ours(POLICY):
        POLICY.unlink()
    if POLICY_SAVED.exists() and not POLICY.exists():
        POLICY_SAVED.rename(POLICY)
    NO_MAIN_CLUSTER.unlink(missing_ok=True)


def _is_ours(policy: Path) -> bool:
    return policy.exists() and POLICY_MARK in policy.read_text(errors="replace")


def _wait_for_dpkg() -> None:
    with DPKG_LOCK.open("a") as lock:
        for waited in range(DPKG_PATIENCE_S):
            try:
                fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except (BlockingIOError, PermissionError):  # held by a dpkg at work
                if not waited:
                    print("  another program is installing packages; waiting for it", flush=True)
                time.sleep(1)
    raise LabError("another program is installing packages: wait until it is done and start again")


@contextmanager
def nothing_starts() -> Iterator[None]:
    """While this lasts, packages that are installed start no service and make no PostgreSQL cluster."""
    restore_policy()
    if POLICY.exists():
        POLICY.rename(POLICY_SAVED)
    try:
        POLICY.write_text(f"#!/bin/sh\n{POLICY_MARK}\nexit 101\n")
        POLICY.chmod(0o755)
        NO_MAIN_CLUSTER.parent.mkdir(parents=True, exist_ok=True)
        NO_MAIN_CLUSTER.write_text("create_main_cluster = false\n")
        yield
    finally:
        restore_policy()
