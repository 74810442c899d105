"""Attempts: the allocations of a run."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta
from itertools import groupby
from typing import NamedTuple

from ClusterShell.NodeSet import NodeSet, NodeSetException
from sqlalchemy import and_, case, func, select, update
from sqlalchemy.orm import Session

from tracker.store import suspensions
from tracker.store.among import among
from tracker.store.runs import CLOCK_SLACK
from tracker.store.tables import Attempt, Gpu, Run

_RUNS = Run.__table__.c
_OF_RUNS = select(Attempt).where(among(Attempt.__table__.c.run_id, "runs")).order_by(Attempt.number)
_ONE_NODE = re.compile(r"[A-Za-z0-9_.-]+\Z")
_ASIDE = 1_000_000  # numbers change by way of these, so that no two rows have the same one on the way
END_SLACK = timedelta(seconds=1)
"""Slurm's times are whole seconds, so an attempt may have gone on for up to a second after its end."""


class HeldGpu(NamedTuple):
    """A GPU of a node by Slurm's index, and what is known of it, as in its table."""

    index: int  # type: ignore[assignment]  # a tuple's own `index` is of no use here
    uuid: str | None = None
    mig: str | None = None


def of(session: Session, run_id: str) -> list[Attempt]:
    """The attempts of a run, the first one first."""
    query = select(Attempt).where(Attempt.run_id == run_id).order_by(Attempt.number)
    return list(session.scalars(query))


def of_runs(session: Session, run_ids: Iterable[str]) -> dict[str, list[Attempt]]:
    """The attempts of each of these runs, the first one first: one statement for any number of them."""
    found: dict[str, list[Attempt]] = {run_id: [] for run_id in run_ids}
    for attempt in session.scalars(_OF_RUNS, {"runs": list(found)}) if found else ():
        found[attempt.run_id].append(attempt)
    return found


def holding(attempts: Sequence[Attempt], at: datetime, restarts: int | None = None) -> Attempt | None:
    """The attempt that had its allocation at that moment, the last one if several seem to.

    With `restarts` it is one that is not known to be another by that count: the end of an attempt on one node may
    become known after the start of the next one on another.
    """
    for attempt in reversed(attempts):
        is_other = restarts is not None and attempt.restarts not in (None, restarts)
        started = attempt.started_at is None or attempt.started_at - CLOCK_SLACK <= at
        if started and not is_other and (attempt.ended_at is None or at < attempt.ended_at + END_SLACK):
            attempt.restarts = attempt.restarts if restarts is None else restarts
            return attempt
    return None


def begun_by(attempts: Sequence[Attempt], at: datetime) -> Attempt | None:
    """The last attempt that had started at that moment."""
    for slack in (timedelta(0), CLOCK_SLACK):
        for attempt in reversed(attempts):
            if attempt.started_at is None or attempt.started_at - slack <= at:
                return attempt
    return None


def add(
    session: Session,
    run_id: str,
    attempts: list[Attempt],
    started_at: datetime | None,
    state: str,
    restarts: int | None = None,
    *,
    source: str,
) -> Attempt:
    """Add an attempt to a run that is stored, and to the list of its attempts.

    `source` told of it; those that began before are over by then.
    """
    before = [one for one in attempts if started_at and one.started_at and one.started_at < started_at]
    if started_at and before:
        give_back(session, run_id, before, started_at)
    number = len(attempts) + 1
    attempt = Attempt(
        run_id=run_id, number=number, started_at=started_at, state=state, restarts=restarts, start_source=source
    )
    session.add(attempt)
    attempts.append(attempt)
    return attempt


def give_back(
    session: Session, run_id: str, attempts: Sequence[Attempt], at: datetime, source: str | None = None
) -> None:
    """Say that the job had been requeued by then: its attempts are over, and so is what kept them from running.

    Without a source their end is a guess, which an Epilog may still put right.
    """
    suspensions.end([one for one in suspensions.of(session, run_id) if one.started_at < at], at)
    for attempt in attempts:
        if attempt.ended_at is None:
            attempt.ended_at, attempt.end_source = at, source
        if attempt.state in ("RUNNING", "SUSPENDED"):
            attempt.state = "REQUEUED"


def put_in_order(session: Session, run_id: str, known: list[Attempt]) -> None:
    """Number the attempts by their start: one that Slurm's accounting tells of late may come before known ones."""
    ordered = sorted(known, key=lambda one: (one.started_at is not None, one.started_at, one.number))
    if ordered == known:
        return
    session.flush()
    new_number = {one.number: place for place, one in enumerate(ordered, start=1)}
    for table, column in ((Attempt, Attempt.number), (Gpu, Gpu.attempt)):
        mine = update(table).where(table.run_id == run_id).execution_options(synchronize_session=False)
        session.execute(mine.values({column: case(new_number, value=column) + _ASIDE}))
        session.execute(mine.values({column: column - _ASIDE}))
    session.expire_all()


def add_node(
    session: Session,
    attempt: Attempt,
    cluster: str,
    node: str,
    gpus: Sequence[HeldGpu],
    released_at: datetime | None = None,
) -> None:
    """Say that the attempt held this node and these of its GPUs, and when the node's Epilog came."""
    add_nodes(attempt, node)
    for gpu in gpus:
        told = {"cluster": cluster, **gpu._asdict(), "released_at": released_at}
        known = {name: value for name, value in told.items() if value is not None}
        session.merge(Gpu(run_id=attempt.run_id, attempt=attempt.number, node=node, **known))


def name_gpu(session: Session, run_id: str, node: str | None, gpu: HeldGpu, at: datetime, type: str | None) -> None:
    """Say what a GPU is that the attempt of that moment holds on a node. One that it does not hold is not added.

    It is told in the job's folder, where its user may write, too: what is known, as from the Prolog, stays.
    """
    attempt = holding(of(session, run_id), at)
    known = session.get(Gpu, (run_id, attempt.number, node, gpu.index)) if attempt and node else None
    if known is not None and (gpu.mig is None or known.mig in (None, gpu.mig)):  # Slurm's own word for a part counts
        known.uuid, known.mig, known.type = known.uuid or gpu.uuid, known.mig or gpu.mig, known.type or type


def gpus_on(session: Session, jobs: Collection[tuple[str, int]], node: str) -> dict[tuple[str, int], list[int]]:
    """The GPUs (Slurm's indices) that the last attempt of each job holds on a node; jobs without a run are left out."""
    if not jobs:
        return {}
    known: dict[tuple[str, int], list[int]] = {}
    last = select(func.max(Attempt.number)).where(Attempt.run_id == Run.id).scalar_subquery()
    held = and_(Gpu.run_id == Run.id, Gpu.attempt == last, Gpu.node == node)
    query = select(Run.id, Run.cluster, Run.job_id, Gpu.index).outerjoin(Gpu, held)
    query = query.where(among(_RUNS.cluster, "clusters"), among(_RUNS.job_id, "jobs"))
    query = query.order_by(Run.created_at, Run.id, Gpu.index)
    asked = {"clusters": {one for one, _ in jobs}, "jobs": {one for _, one in jobs}}
    for (_, cluster, job_id), of_run in groupby(session.execute(query, asked), key=lambda row: row[:3]):
        if (cluster, job_id) in jobs:
            # Of a job id that was used again, the newest run's replace the others'.
            known[cluster, job_id] = [index for *_, index in of_run if index is not None]
    return known


class Elsewhere(NamedTuple):
    """A job whose nodes are known, and one is not among them.

    `is_certain`: the controller says that it runs, so that all of its nodes are known. `restarts`: its count of
    requeues then.
    """

    is_certain: bool
    restarts: int | None


def elsewhere(session: Session, jobs: Collection[tuple[str, int]], node: str) -> dict[tuple[str, int], Elsewhere]:
    """Those of these jobs (cluster, job id) that are on other nodes and never were on this one, as far as is known."""
    columns = (Run.cluster, Run.job_id, Run.id, Run.state, Run.state_source, Run.het_job_id, Run.restarts)
    query = select(*columns, Attempt.nodes).join(Attempt, Attempt.run_id == Run.id)
    query = query.where(among(_RUNS.cluster, "clusters"), among(_RUNS.job_id, "jobs")).order_by(Run.created_at, Run.id)
    asked = {"clusters": {one for one, _ in jobs}, "jobs": {one for _, one in jobs}}
    found: dict[tuple[str, int], Elsewhere] = {}
    for (cluster, job_id, _), of_run in groupby(session.execute(query, asked), key=lambda row: row[:3]):
        rows = list(of_run)
        nodes = {name for row in rows for name in node_names(row.nodes)}
        found.pop((cluster, job_id), None)  # of a job id that was used again, the newest run counts
        if (cluster, job_id) in jobs and nodes and node not in nodes:
            told = rows[0]
            by_slurm = told.state == "RUNNING" and told.state_source == "controller"
            found[cluster, job_id] = Elsewhere(by_slurm and told.het_job_id is None, told.restarts)
    return found


def add_nodes(attempt: Attempt, nodes: str | None) -> None:
    """Say that the attempt held these nodes, too.

    No source is sure to know all of them: a hook knows its own, squeue leaves out those that are done while others are
    completing, accounting names the components of a het job apart, and sacct 22.05 names only the first node of a job
    for some tenths of a second around its end.
    """
    attempt.nodes = folded([nodes or "", attempt.nodes or ""]) or None


def node_names(nodes: str | None) -> list[str]:
    """The nodes of a node list such as `n[1-2]`, one by one."""
    if nodes and _ONE_NODE.match(nodes):
        return [nodes]  # a page has many, and to take a list apart is dear
    try:
        return list(NodeSet(nodes or ""))
    except NodeSetException:
        return [nodes] if nodes else []


def folded(nodes: Sequence[str]) -> str:
    """Write nodes and node lists as one node list: `n[1-2]`. What is no node list stays as it is."""
    try:
        return str(NodeSet.fromlist([one for one in nodes if one]))
    except NodeSetException:
        return ",".join(one for one in nodes if one)
