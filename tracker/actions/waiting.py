"""Tell how a job waits: its place, when Slurm expects its start and how good that word is, and what it waits for."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from tracker.states import FINAL_STATES
from tracker.store import runs, waits
from tracker.store.database import Session
from tracker.store.identity import Identity
from tracker.store.tables import Run, Wait
from tracker.store.waits import Estimates, Place

_MOST_JOBS = 50
_LEAST_STARTS = 3
"""So many starts say how good estimates are."""
# man squeue, "Dependency": `afterok:7(unfulfilled),afterany:12_*+10(unfulfilled)?singleton(unfulfilled)`
_KIND = re.compile(r"(after\w*|singleton|expand)(?=[:(]|\Z)")
_JOB = re.compile(r"(\d{1,18})(?:_(\d{1,18}|\*))?(?:\+\d+)?(?:\((\w+)\))?")
_WORDS = {
    "after": "has started", "afterany": "has ended", "afterok": "has ended well", "afternotok": "has failed",
    "aftercorr": "has ended well, task by task", "afterburstbuffer": "has copied its files out of the burst buffer",
}  # fmt: skip


@dataclass(frozen=True)
class Awaited:
    """A job that is waited for: `until` says for what of it, in words, `state` where it is, as far as that may be told.

    `run_id` is its run; of an array, none. Of one that nobody may see there is the id alone.
    """

    job: str
    until: str
    state: str | None
    run_id: str | None


@dataclass(frozen=True)
class Waiting:
    """How a job waits, as Slurm said at `as_of`. What is not so or not known is None.

    `features` are those that it asks nodes to have; `task_limit` is how many tasks of its array may run at once.
    """

    as_of: datetime | None
    partition: str
    priority: int
    place: Place | None
    user: str | None
    start_estimate_at: datetime | None
    planned_nodes: str | None
    estimates: Estimates | None
    begins_at: datetime | None
    limit: str | None
    awaited: Sequence[Awaited]
    is_singleton: bool
    reservation: str | None
    features: str | None
    licenses: str | None
    task_limit: int | None


def waiting(session: Session, viewer: Identity, run: Run, now: datetime) -> Waiting | None:
    """How the run's job waits; None if it does not, or the watcher has not told yet."""
    told = waits.get(session, run) if run.state == "PENDING" else None
    if told is None:
        return None
    wait, as_of = told
    estimates = waits.estimates(session, wait.cluster, wait.partition, now) if wait.estimate_at else None
    return Waiting(
        as_of=as_of,
        partition=wait.partition,
        priority=wait.priority,
        place=waits.place(session, wait),
        user=wait.user,
        start_estimate_at=wait.estimate_at,
        planned_nodes=wait.planned_nodes,
        estimates=estimates if estimates and estimates.jobs >= _LEAST_STARTS else None,
        begins_at=wait.eligible_at if wait.eligible_at and wait.eligible_at > now else None,
        limit=wait.limit_words,
        awaited=_awaited(session, viewer, wait),
        is_singleton="singleton" in (wait.dependency or ""),
        reservation=wait.reservation,
        features=wait.features,
        licenses=wait.licenses,
        task_limit=wait.array_throttle,
    )


def parse_dependency(text: str) -> list[tuple[str, int, str | None]]:
    """What is waited for of which jobs: kind, job id, and task (`*`: all) where it is one of an array."""
    found: list[tuple[str, int, str | None]] = []
    kind = ""
    for part in re.split(r"[,?]", text):
        named = _KIND.match(part)
        kind, rest = (named[1], part[named.end() :]) if named else (kind, part)
        for job, task, _ in _JOB.findall(rest)[: _MOST_JOBS - len(found)] if kind else ():
            found.append((kind, int(job), task or None))
    return found


def _awaited(session: Session, viewer: Identity, wait: Wait) -> list[Awaited]:
    wanted = parse_dependency(wait.dependency or "")
    if not wanted:
        return []
    known = runs.states_of(session, viewer, wait.cluster, {job for _, job, _ in wanted})
    return [_told(wait.cluster, kind, job, task, known) for kind, job, task in wanted]


def _told(cluster: str, kind: str, job: int, task: str | None, known: Sequence[runs.JobState]) -> Awaited:
    if task == "*" or (task is None and any(one.array_job_id == job for one in known)):
        states = [one.state for one in known if one.array_job_id == job]
        ended = sum(state in FINAL_STATES for state in states)
        state = f"{ended} of {len(states)} tasks have ended" if states else None
        return Awaited(f"{cluster}:{job}_*", _WORDS.get(kind, kind), state, None)
    name = f"{cluster}:{job}" + (f"_{task}" if task else "")
    mine = [
        one for one in known if (one.array_job_id == job and str(one.task_id) == task if task else one.job_id == job)
    ]
    newest = mine[-1] if mine else None
    return Awaited(
        name, _WORDS.get(kind, kind), newest.state if newest else None, newest.run_id if newest else None
    )  # fmt: skip
