"""Programs started one at a time, and what each cost."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import NamedTuple


class Cost(NamedTuple):
    """What a program took, with all that it started: time on the wall, and of a processor."""

    wall_ms: float
    cpu_ms: float


def run(argv: list[str], env: Mapping[str, str]) -> Cost:
    """Run a program with this environment and its output thrown away. Raises ChildProcessError when it fails."""
    to_null = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
    started_s = time.perf_counter()
    child = os.posix_spawn(argv[0], argv, env, file_actions=to_null)
    _, status, used = os.wait4(child, 0)
    wall_s = time.perf_counter() - started_s
    if status:
        raise ChildProcessError(f"{' '.join(argv)} ended with {os.waitstatus_to_exitcode(status)}")
    return Cost(wall_s * 1000, (used.ru_utime + used.ru_stime) * 1000)
