"""MUNGE tells whose process made a credential, without a secret of ours: Slurm itself knows its users by it."""

from __future__ import annotations

import re
import subprocess
import threading
from datetime import datetime, timezone
from typing import NamedTuple

from tracker.errors import Unauthenticated, Unavailable

TIMEOUT_S = 5.0
"""So long a munged may take that has much to do; `unmunge` alone would wait for a hanging one much longer."""
_AT_ONCE = threading.BoundedSemaphore(2)
_CREDENTIAL = re.compile(r"MUNGE:[A-Za-z0-9+/=]{1,4000}:\Z")
_FIRST_ABOUT_THE_CREDENTIAL = 8
"""The exit code of `unmunge` is libmunge's error (munge_enum(3)); the lesser ones are of the daemon and the machine."""
_REASONS = {15: "it has expired", 16: "its clock is ahead of ours", 17: "it was used before"}


class Vouched(NamedTuple):
    """Who made a credential, when by the clock of that machine, and what was put into it."""

    uid: int
    encoded_at: datetime
    payload: bytes


def decode(credential: str, socket: str = "") -> Vouched:
    """What MUNGE says of a credential; `socket` is that of munged if it has not the usual one.

    Raises Unauthenticated when it is not valid, or was decoded on this machine before; Unavailable when munged does not
    answer. A process of its own asks, which can be ended: a request must not hang with munged.
    """
    if not _CREDENTIAL.match(credential):
        raise Unauthenticated("This is no MUNGE credential.")
    if not _AT_ONCE.acquire(timeout=TIMEOUT_S):
        raise Unavailable("MUNGE has too much to do here; try again later.")
    try:
        answer = subprocess.run(
            ["unmunge", "-N", "-k", "ENCODE_TIME,UID", *(["-S", socket] if socket else [])],
            input=credential.encode(), capture_output=True, timeout=TIMEOUT_S, check=False,
        )  # fmt: skip
    except FileNotFoundError:
        raise Unavailable("MUNGE is not installed where the server runs: log in with a token.") from None
    except subprocess.TimeoutExpired:
        raise Unavailable("munged, where the server runs, does not answer; try again later.") from None
    finally:
        _AT_ONCE.release()
    if answer.returncode >= _FIRST_ABOUT_THE_CREDENTIAL:
        reason = _REASONS.get(answer.returncode, "it is not of this cluster")
        raise Unauthenticated(f"This MUNGE credential is not valid: {reason}.")
    if answer.returncode:
        raise Unavailable("munged, where the server runs, does not answer; try again later.")
    return _read(answer.stdout)


def check(socket: str = "") -> int:
    """Have a credential made and decoded here; the uid that it tells. Raises Unavailable when that does not work."""
    command = ["munge", "-n", *(["-S", socket] if socket else [])]
    try:
        made = subprocess.run(command, capture_output=True, timeout=TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        raise Unavailable("MUNGE is not installed here, or munged does not answer.") from None
    if made.returncode:
        raise Unavailable("munged does not answer; `munge_socket` is where it listens, if not at the usual place.")
    return decode(made.stdout.decode().strip(), socket).uid


def _read(answer: bytes) -> Vouched:
    """Read what `unmunge` prints: `KEY: value` lines, an empty one, and the payload, which is the user's."""
    head, _, payload = answer.partition(b"\n\n")
    said = dict(line.decode().partition(":")[::2] for line in head.splitlines())
    encoded_at = datetime.fromtimestamp(int(said["ENCODE_TIME"]), timezone.utc)
    return Vouched(int(said["UID"]), encoded_at, payload)
