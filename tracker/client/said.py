"""What the user is told on stderr, each thing once."""

from __future__ import annotations

import sys
from contextlib import suppress

MOST_SAID = 1000
_said: set[str] = set()


def say_once(key: str, message: str) -> None:
    """Tell the user, unless something was told under this key."""
    if key not in _said and len(_said) < MOST_SAID:
        _said.add(key)
        with suppress(Exception):  # a closed stderr must not end a training
            sys.stderr.write(f"tracker: {message}\n")
