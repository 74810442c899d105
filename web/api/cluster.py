"""The queue and the nodes, as the watchers saw them last."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from flask import Blueprint
from flask.typing import ResponseReturnValue
from pydantic import BaseModel, ConfigDict

from tracker.actions.forecast import forecasts
from tracker.states import LIVE_STATES
from tracker.store import clusters, runs, tables, waits
from web.api.described import described
from web.api.exchange import answer, read_query
from web.api.models import NoQuery, PageQuery, Text, Time, Told
from web.api.readings import Job
from web.context import db, now, viewer

cluster = Blueprint("cluster", __name__)


class Watched(BaseModel):
    """A cluster: when its watcher last heard from Slurm, and what is wrong since."""

    model_config = ConfigDict(from_attributes=True)
    name: str
    as_of: Time | None
    problem: str | None


class JobList(Told):
    """The queue: runs that have not ended. `as_of`: no cluster's news are older."""

    items: list[Job]
    next_cursor: str | None
    as_of: Time | None
    clusters: list[Watched]

    @classmethod
    def seen(cls, jobs: list[Job], next_cursor: str | None, clusters: list[tables.Cluster]) -> JobList:
        """The queue as the store has it."""
        return cls.model_construct(
            items=jobs, next_cursor=next_cursor, as_of=_oldest(clusters), clusters=_watched(clusters)
        )


class JobsQuery(PageQuery):
    """Which part of the queue; of one user if `user` is given."""

    user: Text | None = None


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
@described(JobList, query=JobsQuery)
def jobs() -> ResponseReturnValue:
    """Runs that wait or run, newest first."""
    asked = read_query(JobsQuery)
    with db().read() as session:
        page = runs.find(session, viewer(), user=asked.user, states=LIVE_STATES, limit=asked.limit, cursor=asked.cursor)
        watched = clusters.all_of_them(session)
        expected = forecasts(session, page.items, now())
        starts = waits.start_estimates(session, page.items)
    items = [Job.seen(run, expected.get(run.id), starts.get(run.id)) for run in page.items]
    return answer(JobList.seen(items, page.next_cursor, watched))


@cluster.get("/nodes")
@described(NodeList)
def nodes() -> ResponseReturnValue:
    """All nodes of all clusters."""
    read_query(NoQuery)
    with db().read() as session:
        watched = clusters.all_of_them(session)
    return answer(NodeList.of(watched))
