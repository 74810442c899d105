"""Processes that end together."""

from __future__ import annotations

import ctypes
import os
import signal

_PR_SET_PDEATHSIG = 1

SAFE_PATH = {"PYTHONSAFEPATH": "1"}
"""For the environment of `python -m`, which else looks for modules in the working folder first: it may be anybody's.

Python before 3.11 does not know it (docs.python.org/3/using/cmdline.html#envvar-PYTHONSAFEPATH).
"""


def die_with_parent(number: int = signal.SIGTERM) -> None:
    """In a child, before anything else: get this signal when the parent ends."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number)
    os.setpgid(0, 0)  # a Ctrl-C in the terminal is for our parent, which tells us in its turn
