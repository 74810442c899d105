"""Long steps with visible progress: a line at the start, signs of life, seconds at the end."""

from __future__ import annotations

import os
import pwd
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from lab.place import LabError

SIGN_OF_LIFE_S = 10
WAYS_OUT = (
    (("No space left on device", "Disk quota exceeded", "write error"), "the disk is full: make room and start again"),
    (
        (
            "Temporary failure",
            "Could not resolve",
            "Name or service not known",
            "Failed to establish a new connection",
            "Network is unreachable",
            "Connection refused",
            "Connection timed out",
            "Read timed out",
            "Failed to fetch",
            "Unable to fetch",
            "ENOTFOUND",
            "EAI_AGAIN",
            "ECONNREFUSED",
            "ETIMEDOUT",
            "CERT_IN_CHAIN",
            "CERTIFICATE_VERIFY_FAILED",
        ),
        "a package registry cannot be reached: check the network (or its proxy settings) and start again",
    ),
    (
        ("Could not get lock", "is another process using it", "locked by another process"),
        "another program is installing packages: wait until it is done and start again",
    ),
    (
        ("Unable to locate package", "has no installation candidate"),
        "this system does not offer the package: use Debian 12 or Ubuntu 24.04, or newer",
    ),
    (
        ("No matching distribution found", "ResolutionImpossible"),
        "a pinned version in constraints.txt is not to be had for this Python: `./run setup --upgrade` pins new ones",
    ),
    (("Permission denied", "EACCES"), "a file may not be written: look who owns the checkout and its .venv"),
)


def run_step(
    title: str,
    commands: Sequence[Sequence[str]],
    *,
    log: Path,
    env: Mapping[str, str] | None = None,
    as_owner_of: Path | None = None,
) -> None:
    """Run commands one after the other into a log, showing progress. Raises LabError when one fails."""
    print(f"  ...     {title}", flush=True)
    started = time.monotonic()
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        for command in commands:
            _run(title, command, output.fileno(), log, dict(env or os.environ), as_owner_of, started)
    print(f"  {time.monotonic() - started:5.1f} s  {title}", flush=True)


def _run(
    title: str,
    command: Sequence[str],
    output: int,
    log: Path,
    env: dict[str, str],
    as_owner_of: Path | None,
    started: float,
) -> None:
    owner = other_owner(as_owner_of) if as_owner_of else None
    if owner:
        env.update(HOME=owner.pw_dir, USER=owner.pw_name, LOGNAME=owner.pw_name)
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        env=env,
        user=owner.pw_uid if owner else None,
        group=owner.pw_gid if owner else None,
        extra_groups=[] if owner else None,
    ) as process:
        while True:
            try:
                process.wait(SIGN_OF_LIFE_S)
                break
            except subprocess.TimeoutExpired:
                print(f"  {time.monotonic() - started:5.0f} s  … {_last_line(log)}", flush=True)
    if process.returncode:
        raise LabError(explain(title, log))


def other_owner(path: Path) -> pwd.struct_passwd | None:
    """Who owns `path`, when this is root working in another person's folder; None otherwise."""
    uid = path.stat().st_uid
    if os.geteuid() != 0 or uid == 0:
        return None
    try:
        return pwd.getpwuid(uid)
    except KeyError:  # a folder mounted from elsewhere
        return None


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1].strip()[:100] if lines else ""


def explain(title: str, log: Path) -> str:
    """One sentence about a failed step with the way out, then the end of its log."""
    text = log.read_text(errors="replace")
    ways = (way for signs, way in WAYS_OUT if any(sign in text for sign in signs))
    sentence = next(ways, "its log tells why")
    tail = "\n".join(f"    {line}" for line in text.strip().splitlines()[-12:])
    return f"{title} failed: {sentence}.\nThe end of {log}:\n{tail}"
