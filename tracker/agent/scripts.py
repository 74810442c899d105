"""Tells whether the script of a run outside Slurm is still alive: nobody else reports its death."""

from __future__ import annotations

import os
from typing import Any, Iterable, NamedTuple

from tracker.client.identity import process_identity
from tracker.client.past import objects

ENDS_BYTES = 64 * 1024


class Script(NamedTuple):
    """The process of a script, and its start in clock ticks since the boot, so that no other can be taken for it."""

    pid: int
    started_ticks: int


def is_over(ends: Iterable[tuple[bytes, bytes]]) -> bool:
    """Say whether a run is over without a goodbye, given the first and last bytes of each of its files.

    False also where this cannot be known: another host, another container, nobody said who writes.
    """
    writers: list[dict[str, Any]] = []
    for first, last in ends:
        if any(line.get("event") == "finish" for line in objects(last.splitlines()[-20:])):
            return False
        writers += [line for line in objects(first.splitlines()[:1]) if line.get("event") == "writer"]
    return bool(writers) and all(_is_dead(writer) for writer in writers)


def script_of(first_line: bytes) -> Script | None:
    """Return who writes a file, given its first line; None if that is nobody alive on this machine."""
    for writer in objects([first_line]):
        pid, process = writer.get("pid"), writer.get("process")
        on_this_machine = writer.get("event") == "writer" and writer.get("host") == os.uname().nodename
        if on_this_machine and type(pid) is int and isinstance(process, str) and process_identity(pid) == process:
            return Script(pid, int(process.rpartition("/")[2]))
    return None


def _is_dead(writer: dict[str, Any]) -> bool:
    pid, process = writer.get("pid"), writer.get("process")
    if writer.get("host") != os.uname().nodename or not isinstance(pid, int) or not 0 < pid < 2**31:
        return False
    if not isinstance(process, str):
        return not os.path.exists(f"/proc/{pid}") if os.path.exists("/proc/self") else False
    boot, _, place = process.partition("/")
    own_boot, _, own_place = (process_identity(os.getpid()) or "").partition("/")
    if boot != own_boot:
        return bool(own_boot)
    if place.partition("/")[0] != own_place.partition("/")[0]:
        return False  # in a container its process ids are not ours
    return process_identity(pid) != process
