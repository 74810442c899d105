"""What jobs that ended have used, as sacct tells of their steps."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from tracker.slurm.asking import rows
from tracker.slurm.records import Usage
from tracker.slurm.values import cpu_time_s, moment, whole

FIELDS = ("JobIDRaw", "Start", "End", "TotalCPU", "TRESUsageInTot")
LONG_S = 30.0
"""Steps that went on for longer have used memory: if none is told, nobody measured (`--acctg-freq=0`)."""
EXTERN = "extern"
"""The step of processes from outside, as of ssh; mostly of none."""
_MEMORY = re.compile(r"(?:^|,)mem=(\d+)")


class Step(NamedTuple):
    """When a step ran, in seconds since 1970, and what all its tasks held at most; None if nobody measured."""

    name: str
    began_s: float
    ended_s: float
    memory_bytes: int | None

    @property
    def is_unknown(self) -> bool:
        """Whether it must have used memory, and nobody says how much."""
        return not self.memory_bytes and self.ended_s - self.began_s > LONG_S and self.name != EXTERN


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
    total = _MEMORY.search(row["TRESUsageInTot"])  # MaxRSS is of one task alone
    began_s = began.timestamp() if began else 0.0
    name = row["JobIDRaw"].partition(".")[2]
    return Step(name, began_s, ended.timestamp() if ended else began_s, int(total[1]) if total else None)


def most_at_once(steps: Iterable[Step]) -> int | None:
    """The most that steps which ran at the same time held together; None if that of one is unknown.

    Each counts with its most for as long as it ran, so that this is never less than what was measured.
    """
    known = list(steps)
    measured = [one for one in known if one.memory_bytes]
    if not measured or any(one.is_unknown for one in known):
        return None
    # Slurm's times are whole seconds: a step that begins in the second in which another ends counts beside it.
    changes = [(one.began_s, 0, one.memory_bytes or 0) for one in measured]
    changes += [(one.ended_s, 1, -(one.memory_bytes or 0)) for one in measured]
    most = now = 0
    for *_, change in sorted(changes):
        now += change
        most = max(most, now)
    return most
