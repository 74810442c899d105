"""The queue and the nodes, as the watchers saw them last."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from flask import Blueprint
from flask.typing import ResponseReturnValue
from pydantic import BaseModel, ConfigDict

from tracker.states import LIVE_STATES
from tracker.store import clusters, runs, tables
from tracker.store.runs import Page
from web.api.described import described
from web.api.exchange import answer, read_query
from web.api.models import NoQuery, PageQuery, RunList, Time
from web.context import db, viewer

cluster = Blueprint("cluster", __name__)


class Watched(BaseModel):
    """A cluster: when its watcher last heard from Slurm, and what is wrong since."""

    model_config = ConfigDict(from_attributes=True)
    name: str
    as_of: Time | None
    problem: str | None


class JobList(RunList):
    """The queue: runs that have not ended. `as_of`: no cluster's news are older."""

    as_of: Time | None
    clusters: list[Watched]

    @classmethod
    def seen(cls, page: Page, clusters: list[tables.Cluster]) -> JobList:
        """The queue as the store has it."""
        return cls.model_construct(**RunList.of(page).__dict__, as_of=_oldest(clusters), clusters=_watched(clusters))


class Node(BaseModel):
    """A node of a cluster; `gpus_used` of its `gpus` are held by jobs."""

    model_config = ConfigDict(extra="ignore")
    cluster: str
    name: str
    state: str
    reason: str | None = None
    cpus: int = 0
    cpus_alloc: int = 0
    memory_mb: int = 0
    memory_alloc_mb: int = 0
    gpus: int = 0
    gpus_used: int = 0
    partitions: list[str] = []


class NodeList(BaseModel):
    """All nodes. `as_of`: no cluster's news are older."""

    items: list[Node]
    next_cursor: str | None = None
    as_of: Time | None
    clusters: list[Watched]

    @classmethod
    def of(cls, clusters: list[tables.Cluster]) -> NodeList:
        """The clusters as the store has them."""
        items = [Node(cluster=cluster.name, **node) for cluster in clusters for node in cluster.nodes]
        return cls(items=items, as_of=_oldest(clusters), clusters=_watched(clusters))


def _oldest(clusters: Iterable[tables.Cluster]) -> datetime | None:
    times = [cluster.as_of for cluster in clusters]
    known = [time for time in times if time is not None]
    return min(known) if known and len(known) == len(times) else None


def _watched(clusters: Iterable[tables.Cluster]) -> list[Watched]:
    return [Watched.model_validate(cluster) for cluster in clusters]


@cluster.get("/jobs")
@described(JobList, query=PageQuery)
def jobs() -> ResponseReturnValue:
    """Runs that wait or run, newest first."""
    asked = read_query(PageQuery)
    with db().read() as session:
        page = runs.find(session, viewer(), states=LIVE_STATES, limit=asked.limit, cursor=asked.cursor)
        watched = clusters.all_of_them(session)
    return answer(JobList.seen(page, watched))


@cluster.get("/nodes")
@described(NodeList)
def nodes() -> ResponseReturnValue:
    """All nodes of all clusters."""
    read_query(NoQuery)
    with db().read() as session:
        watched = clusters.all_of_them(session)
    return answer(NodeList.of(watched))
