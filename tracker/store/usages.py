"""Usages: what a run's newest attempt holds, and what it has used once it ended, as accounting tells of its steps."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from tracker.store.among import among
from tracker.store.tables import Run, Usage, is_set
from tracker.store.upsert import upsert

_USAGES = Usage.__table__.c
_OF_RUNS = among(_USAGES.run_id, "runs")


class Held(NamedTuple):
    """What an attempt holds of processors, memory and nodes, all nodes together. `ended`: nothing more will come.

    `tasks`: how many of them the job asked for (--ntasks); None where that was not told.
    """

    run_id: str
    started_at: datetime
    cpus: int
    memory_bytes: int
    nodes: int
    ended: bool
    tasks: int | None = None


def hold(session: Session, held: Sequence[Held]) -> None:
    """Say what attempts hold. What is known of an earlier attempt of the same run gives way; of this one it stays.

    How many tasks a job has is the same for all of its attempts.
    """
    told = {one.run_id: one for one in held}
    if not told:
        return
    known = {row.run_id: row for row in session.execute(_KNOWN, {"runs": list(told)})}
    upsert(session, Usage, [_row(one, known.get(one.run_id)) for one in told.values()])


_KNOWN = select(
    _USAGES.run_id, _USAGES.started_at, _USAGES.cpu_s, _USAGES.used_memory_bytes, _USAGES.tasks
).where(_OF_RUNS)  # fmt: skip


def _row(held: Held, known: Any) -> dict[str, Any]:
    same = known if known is not None and known.started_at == held.started_at else None
    cpu_s, memory_bytes = (same.cpu_s, same.used_memory_bytes) if same else (None, None)
    tasks = held.tasks or (known.tasks if known else None)
    return {
        "run_id": held.run_id, "started_at": held.started_at, "cpus": held.cpus, "memory_bytes": held.memory_bytes,
        "nodes": held.nodes, "tasks": tasks, "due": held.ended and cpu_s is None, "cpu_s": cpu_s,
        "used_memory_bytes": memory_bytes,
    }  # fmt: skip


class Due(NamedTuple):
    """A run whose job has ended, and of which is not known what it used."""

    run_id: str
    job_id: int
    started_at: datetime | None


def due(session: Session, cluster: str, before: datetime, limit: int) -> list[Due]:
    """Runs of the cluster that ended before that moment and of which nobody has asked what they used."""
    query = select(Usage.run_id, Run.job_id, Usage.started_at).join(Run, Run.id == Usage.run_id)
    query = query.where(is_set(Usage.due), Run.cluster == cluster, Run.job_id.is_not(None), Run.ended_at < before)
    return [Due(run_id, job or 0, at) for run_id, job, at in session.execute(query.limit(limit))]


class Used(NamedTuple):
    """What a run has used; Nones where nobody knows."""

    run_id: str
    cpu_s: float | None
    memory_bytes: int | None


def keep(session: Session, used: Iterable[Used]) -> None:
    """Keep what runs have used; they are not asked about again."""
    for one in used:
        mine = update(Usage).where(Usage.run_id == one.run_id)
        session.execute(mine.values(due=False, cpu_s=one.cpu_s, used_memory_bytes=one.memory_bytes))
