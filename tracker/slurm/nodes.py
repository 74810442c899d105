"""Nodes in sinfo's words, and what of each is taken."""

from __future__ import annotations

from tracker.slurm.asking import rows
from tracker.slurm.records import Node
from tracker.slurm.values import given, gres_gpus, whole

FIELDS = ("NodeList", "StateLong", "CPUsState", "Memory", "AllocMem", "Gres", "GresUsed", "Partition", "Reason")


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
        gpus=gres_gpus(row["Gres"]),
        gpus_used=gres_gpus(row["GresUsed"]),
        partitions=[],
    )
