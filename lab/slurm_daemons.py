"""Slurm's own daemons of a lab, and the munged that vouches for its users."""

from __future__ import annotations

import os
import subprocess
from functools import partial

from lab.daemon import Daemon
from lab.place import Memory, Place, recall
from lab.release import Release


def munged(at: Place) -> Daemon:
    """The lab's own munged, with its own key and socket."""
    argv = ["/usr/sbin/munged", "--foreground", "--force", f"--key-file={at.root}/munge/munge.key"]
    argv += [f"--socket={at.munge_socket}", f"--pid-file={at.run}/munged.pid"]
    argv += [f"--log-file={at.log}/munged.log", f"--seed-file={at.root}/munge/seed"]
    return Daemon(at, "munged", argv)


def start_munged(at: Place) -> None:
    """Start munged with the lab's key, making the key once."""
    key = at.root / "munge" / "munge.key"
    if not key.exists() or key.stat().st_size != 1024:
        key.touch(mode=0o600)
        key.write_bytes(os.urandom(1024))
    daemon = munged(at)
    daemon.start()
    daemon.wait_ready(
        lambda: subprocess.run(["munge", "-n", "-S", at.munge_socket], capture_output=True).returncode == 0
    )


def release(at: Place) -> Release:
    """The Slurm of this lab."""
    return Release((recall(at) or Memory()).slurm)


def slurmctld(at: Place) -> Daemon:
    """The controller."""
    return Daemon(at, "slurmctld", [release(at).sbin / "slurmctld", "-D"])


def start_slurmctld(at: Place, env: dict[str, str]) -> None:
    """Start the controller and wait until it answers."""
    daemon = slurmctld(at)
    daemon.start()
    daemon.wait_ready(lambda: "UP" in ask(env, "scontrol", "ping"))


def slurmd(at: Place, node: str) -> Daemon:
    """The daemon of one virtual node."""
    sbin = release(at).sbin
    return Daemon(at, f"slurmd-{node}", [sbin / "slurmd", "-D", "-N", node, "-d", sbin / "slurmstepd"])


def start_slurmds(at: Place, memory: Memory, env: dict[str, str]) -> None:
    """Start every node's slurmd and wait until the controller takes jobs for it."""
    names = memory.node_names(at.name)
    for name in names:
        (at.root / "spool" / name).mkdir(mode=0o755, exist_ok=True)
        slurmd(at, name).start()
    for name in names:
        slurmd(at, name).wait_ready(partial(_takes_jobs, env, name))


def _takes_jobs(env: dict[str, str], node: str) -> bool:
    return node_state(env, node) in ("idle", "mixed", "allocated", "completing")


def node_state(env: dict[str, str], node: str) -> str:
    """Slurm's word for a node's state, without the marks that Slurm appends."""
    return ask(env, "sinfo", "-h", "-n", node, "-p", "gpu", "-o", "%T").strip().rstrip("*~#!%$@^-")


def ask(env: dict[str, str], *argv: str) -> str:
    """The answer of a Slurm command; empty when it failed."""
    answer = subprocess.run(argv, env=env, capture_output=True, text=True, check=False)
    return answer.stdout if answer.returncode == 0 else ""
