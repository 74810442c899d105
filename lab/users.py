"""The people of a lab, alice and bob, and how a command runs as one of them."""

from __future__ import annotations

import os
import pwd
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from lab.place import LabError

USERS = ("alice", "bob")


def make_users() -> None:
    """Make the Unix users that are missing."""
    for user in USERS:
        try:
            pwd.getpwnam(user)
        except KeyError:
            done = subprocess.run(
                ["useradd", "-m", "-s", "/bin/bash", user], capture_output=True, text=True, check=False
            )
            if done.returncode:
                raise LabError(f"useradd {user} failed: {done.stderr.strip()}") from None


def run_as(
    user: str,
    argv: Sequence[str | Path],
    *,
    env: Mapping[str, str],
    cwd: Path | str | None = None,
    stdin: str | None = None,
    timeout_s: float = 60,
) -> subprocess.CompletedProcess[str]:
    """Run a command as `user` with this environment and nothing else, in the user's home unless told where."""
    person = pwd.getpwnam(user)
    own = {"HOME": person.pw_dir, "USER": user, "LOGNAME": user, "SHELL": person.pw_shell}
    return subprocess.run(
        [str(word) for word in argv],
        env={**own, **env},
        cwd=cwd or person.pw_dir,
        user=person.pw_uid,
        group=person.pw_gid,
        extra_groups=os.getgrouplist(user, person.pw_gid),
        input=stdin,
        stdin=subprocess.DEVNULL if stdin is None else None,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
