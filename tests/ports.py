"""Ports for the servers that tests start, of which several start at the same moment in other processes."""

from __future__ import annotations

from itertools import islice
from random import SystemRandom

from lab.place import port_is_free

# Linux gives these to no connection in the meantime, and labs have others.
RANGE = range(10_000, 17_000)


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on, each from anywhere in the range."""
    return list(islice(filter(port_is_free, SystemRandom().sample(RANGE, len(RANGE))), count))


def free_port() -> int:
    """One of them."""
    return free_ports(1)[0]
