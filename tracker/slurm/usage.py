"""What jobs that ended have used, as sacct tells of their steps."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from tracker.slurm.asking import rows
from tracker.slurm.records import Usage
from tracker.slurm.values import cpu_time_s, moment, whole

FIELDS = ("JobIDRaw", "Start", "End", "TotalCPU", "MaxRSS", "TRESUsageInTot")
_MEMORY = re.compile(r"(?:^|,)mem=(\d+)")


class Step(NamedTuple):
    """When a step ran, in seconds since 1970, and what all its tasks held at most; None if nobody measured."""

    began_s: float
    ended_s: float
    memory_bytes: int | None


def parse_usage(answer: str, separator: str) -> list[Usage]:
    """Understand sacct's answer: a row for each attempt of a job, and after it one for each of its steps."""
    found: list[tuple[dict[str, str], list[Step]]] = []
    for row in rows(answer, separator, FIELDS):
        if whole(row["JobIDRaw"]) is not None:
            found.append((row, []))
        elif found and row["JobIDRaw"].partition(".")[0] == found[-1][0]["JobIDRaw"]:
            found[-1][1].append(_step(row))
    return [
        Usage(int(job["JobIDRaw"]), moment(job["Start"]), cpu_time_s(job["TotalCPU"]), most_at_once(steps))
        for job, steps in found
    ]


def _step(row: dict[str, str]) -> Step:
    began, ended = moment(row["Start"]), moment(row["End"])
    total = _MEMORY.search(row["TRESUsageInTot"])
    memory_bytes = int(total[1]) if total else whole(row["MaxRSS"])
    began_s = began.timestamp() if began else 0.0
    return Step(began_s, ended.timestamp() if ended else began_s, memory_bytes)


def most_at_once(steps: Iterable[Step]) -> int | None:
    """The most that steps which ran at the same time held together; None if nothing was measured of any.

    Each counts with its most for as long as it ran, so that this is never less than what was used.
    """
    measured = [one for one in steps if one.memory_bytes]
    if not measured:
        return None
    # Slurm's times are whole seconds: a step that begins in the second in which another ends counts beside it.
    changes = [(one.began_s, 0, one.memory_bytes or 0) for one in measured]
    changes += [(one.ended_s, 1, -(one.memory_bytes or 0)) for one in measured]
    most = now = 0
    for *_, change in sorted(changes):
        now += change
        most = max(most, now)
    return most
