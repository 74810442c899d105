"""A slurmrestd beside a lab's Slurm. It refuses to be root's, so it is alice's."""

from __future__ import annotations

import os
import pwd
import random
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from lab.cluster import Cluster
from lab.daemon import wait_until
from lab.place import FIRST_PORT, LAST_PORT, LabError, free_port, port_is_free
from lab.slurm_daemons import release

OWNER = "alice"


@contextmanager
def on_socket(cluster: Cluster) -> Iterator[str]:
    """On a Unix socket, where it answers its owner and root without a token; its address."""
    owner = pwd.getpwnam(OWNER)
    folder = Path(tempfile.mkdtemp(prefix="slurmrestd-"))
    os.chown(folder, owner.pw_uid, owner.pw_gid)
    try:
        with _running(cluster, "rest_auth/local", f"unix:{folder}/socket", (folder / "socket").exists):
            yield f"unix:{folder}/socket"
    finally:
        shutil.rmtree(folder)


@contextmanager
def on_port(cluster: Cluster) -> Iterator[str]:
    """On a port of loopback, where it wants a token (`scontrol token`); its address."""
    port = free_port(random.randrange(FIRST_PORT, LAST_PORT))  # another lab may look for one at this moment
    env = {"SLURM_JWT": "daemon"}  # without it the plugin that passes tokens on is not loaded
    with _running(cluster, "rest_auth/jwt", f"127.0.0.1:{port}", lambda: not port_is_free(port), env):
        yield f"http://127.0.0.1:{port}"


def token(cluster: Cluster, user: str = OWNER, lifespan_s: int = 600) -> str:
    """A token of a user's, as `scontrol token` prints it."""
    answer = cluster.run_as(user, ["scontrol", "token", f"lifespan={lifespan_s}"])
    if answer.returncode:
        raise LabError(f"scontrol token failed: {answer.stderr.strip()}")
    return answer.stdout.strip()


@contextmanager
def _running(
    cluster: Cluster, auth: str, address: str, is_there: Callable[[], bool], env: Mapping[str, str] | None = None
) -> Iterator[None]:
    owner = pwd.getpwnam(OWNER)
    program = [str(release(cluster.at).sbin / "slurmrestd"), "-a", auth, address]
    said = cluster.at.log / "slurmrestd.out"
    with said.open("wb") as log:
        daemon = subprocess.Popen(
            program, env={**cluster.user_env(), **(env or {})}, cwd="/", stdin=subprocess.DEVNULL, stdout=log,
            stderr=log, user=owner.pw_uid, group=owner.pw_gid, extra_groups=[],
        )  # fmt: skip
    try:
        if not wait_until(lambda: is_there() or daemon.poll() is not None, within_s=60) or daemon.poll() is not None:
            raise LabError(f"slurmrestd does not start:\n{said.read_text(errors='replace')}")
        yield
    finally:
        daemon.terminate()
        daemon.wait()
