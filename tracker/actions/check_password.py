"""Check a password against what is kept of it: an argon2id hash with the costs of RFC 9106 for little memory."""

from __future__ import annotations

import secrets
import threading
from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from tracker.errors import BadInput

LEAST_CHARS, MOST_CHARS = 10, 1000
_HASHER = PasswordHasher()
_AT_ONCE = threading.BoundedSemaphore(2)
"""A check takes 64 MiB for its time: whoever knocks a hundred times must not take a hundred times as much."""


def hashed(password: str) -> str:
    """What to keep of a password. Raises BadInput when it is too short or too long."""
    if not LEAST_CHARS <= len(password) <= MOST_CHARS:
        raise BadInput(f"A password has {LEAST_CHARS} to {MOST_CHARS:,} characters.")
    with _AT_ONCE:
        return _HASHER.hash(password)


def fits(password: str, kept: str | None) -> bool:
    """Whether it is the password of which this is kept. Where nothing is kept the answer takes as long."""
    nobody = _of_nobody()
    with _AT_ONCE:
        try:
            return _HASHER.verify(kept or nobody, password[:MOST_CHARS]) and kept is not None
        except (VerificationError, InvalidHashError):
            return False


@cache
def _of_nobody() -> str:
    return _HASHER.hash(secrets.token_hex(16))
