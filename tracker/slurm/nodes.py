"""The nodes of the cluster, and what of each is taken."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tracker.slurm.commands import new_separator, rows, run_command
from tracker.slurm.values import given, whole

FIELDS = ("NodeList", "StateLong", "CPUsState", "Memory", "AllocMem", "Gres", "GresUsed", "Partition", "Reason")
_GPU = re.compile(r"gpu:(?:[^:,()]+:)?(\d+)")


@dataclass
class Node:
    """A node. Memory in MiB."""

    name: str
    state: str
    reason: str | None
    cpus: int
    cpus_alloc: int
    memory_mb: int
    memory_alloc_mb: int
    gpus: int
    gpus_used: int
    partitions: list[str]


def parse_nodes(answer: str, separator: str) -> list[Node]:
    """Understand sinfo's answer, which has a row for each partition of a node."""
    found: dict[str, Node] = {}
    for row in rows(answer, separator, FIELDS):
        name = row["NodeList"]
        node = found.get(name) or found.setdefault(name, _node(row))
        node.partitions.append(row["Partition"].rstrip("*"))
    return list(found.values())


def _node(row: dict[str, str]) -> Node:
    cpus = [whole(one) or 0 for one in row["CPUsState"].split("/")] + [0] * 4
    return Node(
        name=row["NodeList"],
        state=row["StateLong"].rstrip("*~#!%$@^-+").upper() + ("*" if "*" in row["StateLong"] else ""),
        reason=None if row["Reason"] == "none" else given(row["Reason"]),
        cpus=cpus[3],
        cpus_alloc=cpus[0],
        memory_mb=whole(row["Memory"]) or 0,
        memory_alloc_mb=whole(row["AllocMem"]) or 0,
        gpus=sum(int(one) for one in _GPU.findall(row["Gres"])),
        gpus_used=sum(int(one) for one in _GPU.findall(row["GresUsed"])),
        partitions=[],
    )


def load_nodes(*, timeout_s: float) -> list[Node]:
    """Ask the controller for its nodes. Raises SlurmUnavailable when it is silent."""
    separator = new_separator()
    wanted = ",".join(f"{field}:{separator}" for field in FIELDS)
    return parse_nodes(run_command(["sinfo", "-h", "-N", "-O", wanted], timeout_s=timeout_s), separator)
