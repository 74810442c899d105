"""The clusters: nodes and GPUs as a grid, and who holds each."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from flask import Blueprint
from flask.typing import ResponseReturnValue

from tracker.slurm.missing import SENTENCES
from tracker.store import clocks, runs
from tracker.store import clusters as store
from tracker.store.tables import Cluster, Gpu, Run
from web.context import db, viewer
from web.pages import live

cluster = Blueprint("cluster", __name__)

Holders = dict[tuple[str | None, str, int], list[tuple[Run, Gpu]]]


@dataclass(frozen=True)
class Slot:
    """A GPU of a node: free, held by runs, or held by somebody whose runs the viewer may not see."""

    index: int
    used: bool
    held: list[tuple[Run, Gpu]]


QUESTIONS = {
    "facts": "configuration", "queue": "queue", "nodes": "nodes", "records": "ended jobs", "ended": "windows",
    "usage": "what jobs used", "limits": "limits",
}  # fmt: skip
"""Words for tracker.slurm.counted's kinds of questions."""


@cluster.app_template_filter()
def lacking(cluster: Cluster) -> list[str]:
    """What cannot be known of the cluster, in sentences."""
    return [SENTENCES[key] for key in cluster.lacks if key in SENTENCES]


@cluster.app_template_filter()
def question_word(kind: str) -> str:
    """What is asked for."""
    return QUESTIONS.get(kind, kind)


@cluster.app_template_filter()
def asked_last_hour(cluster: Cluster) -> int:
    """All questions of the last hour."""
    return int(sum(figures.get("last_hour", 0) for figures in cluster.questions.values()))


@cluster.get("/cluster")
def show() -> ResponseReturnValue:
    """All nodes of all clusters."""
    with db().read() as session:
        watched = store.all_of_them(session)
        running = runs.holders(session, viewer())
        skews = clocks.wrong(session)
    holders = _holders(running)
    grid = {one.name: [(node, _slots(one, node, holders)) for node in one.nodes] for one in watched}
    return live.answer("cluster", clusters=watched, grid=grid, skews=skews)


def _holders(running: Iterable[Run]) -> Holders:
    holders: Holders = {}
    for run in running:
        for gpu in run.attempts[-1].gpus if run.attempts else ():
            holders.setdefault((run.cluster, gpu.node, gpu.index), []).append((run, gpu))
    return holders


def _slots(cluster: Cluster, node: dict[str, Any], holders: Holders) -> list[Slot]:
    """The GPUs of a node. Slurm only counts those in use: of those that strangers hold we show the first."""
    count = int(node.get("gpus") or 0)
    held = {index: holders.get((cluster.name, node["name"], index), []) for index in range(count)}
    strangers = int(node.get("gpus_used") or 0) - sum(map(bool, held.values()))
    slots = []
    for index, mine in held.items():
        taken = not mine and strangers > 0
        strangers -= taken
        slots.append(Slot(index, taken or bool(mine), mine))
    return slots
