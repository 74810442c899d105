"""What the whole node does."""

from __future__ import annotations

import re
from typing import NamedTuple


class NodeUsage(NamedTuple):
    """Processor time of all cores since the boot, in ticks, and of it what was not idle; memory in use, in percent."""

    busy_ticks: int
    all_ticks: int
    memory_percent: float | None


def read(proc: str) -> NodeUsage | None:
    """Return the node's usage; None where there is no /proc/stat."""
    try:
        with open(f"{proc}/stat", encoding="ascii") as file:
            ticks = [int(field) for field in file.readline().split()[1:9]]  # without guests: they are in user already
        with open(f"{proc}/meminfo", encoding="ascii") as file:
            kib = {name: int(value) for name, value in re.findall(r"^(\w+):\s+(\d+)", file.read(), re.MULTILINE)}
    except (OSError, ValueError):
        return None
    total, free = kib.get("MemTotal"), kib.get("MemAvailable")
    used = None if not total or free is None else (total - free) / total * 100
    idle = sum(ticks[3:5])  # idle and waiting for storage
    return NodeUsage(sum(ticks) - idle, sum(ticks), used)
