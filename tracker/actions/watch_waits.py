"""Follow what Slurm says of jobs that wait: priorities, estimates of their starts, and what holds them back.

All this changes for many jobs at once and of itself, so it is no news of theirs: it is kept apart from runs, by what is
different from what was kept, and only now and then.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any

from tracker.errors import SlurmUnavailable
from tracker.slurm.limits import limit_in_words, names_limit
from tracker.slurm.records import Limits, QueuedJob
from tracker.slurm.source import Source
from tracker.slurm.states import PENDING
from tracker.store import waits
from tracker.store.database import Database
from tracker.store.waits import NO_TASK, Key

LIMITS_EVERY_S, LIMITS_AGAIN_AFTER_S = 3600.0, 60.0
PRUNE_EVERY_S = 3600.0
PRIORITIES_EVERY_S = 60.0
"""So often a row is written of which the priority alone has changed: Slurm lets those of all jobs grow together."""
ROWS_A_TRANSACTION = 1000
_MOST_CHARS = 1000
_Row = dict[str, Any]


class WaitsLook:
    """Remembers what is kept of the cluster's waiting jobs, and the limits that were told last."""

    def __init__(self, db: Database, source: Source, user: str | None) -> None:
        self._db, self._source = db, source
        self._knows_all = user is None
        self._kept: dict[Key, _Row] | None = None
        self._limits: Limits | None = None
        self._limits_at_s = self._prune_at_s = self._priorities_at_s = 0.0

    def take(self, cluster: str, jobs: Iterable[QueuedJob], now: datetime, renew: Callable[[], None]) -> None:
        """Keep what the queue says by now. `renew` is called between transactions."""
        if self._kept is None:
            with self._db.read() as session:
                self._kept = waits.waiting(session, cluster)
        told = {_key(job): job for job in jobs if job.job_id or job.array_job_id}
        waiting = {key: job for key, job in told.items() if job.state == PENDING}
        limits = self._limits_if_needed(cluster, waiting.values())
        rows = {key: self._row(job, self._kept.get(key), limits, now) for key, job in waiting.items()}
        self._keep_priorities(rows)
        changed = {key: row for key, row in rows.items() if self._kept.get(key) != row}
        gone = self._kept.keys() - rows.keys()
        started = {key: {**self._kept[key], "started_at": at} for key in gone if (at := _started(told.get(key)))}
        judged = {key: row for key, row in started.items() if row["first_estimate_at"]}
        self._write(cluster, {**changed, **judged}, sorted(gone - judged.keys()), renew)
        self._kept = rows
        if time.monotonic() >= self._prune_at_s:
            with self._db.write() as session:
                waits.prune(session, cluster, now)
            self._prune_at_s = time.monotonic() + PRUNE_EVERY_S

    def _keep_priorities(self, rows: Mapping[Key, _Row]) -> None:
        """Let priorities be as they were kept, unless it is time to look at them."""
        if time.monotonic() >= self._priorities_at_s:
            self._priorities_at_s = time.monotonic() + PRIORITIES_EVERY_S
            return
        for key, row in rows.items():
            kept = (self._kept or {}).get(key)
            if kept is not None and kept["ranked"] == row["ranked"]:
                row["priority"] = kept["priority"]

    def _write(
        self, cluster: str, rows: Mapping[Key, _Row], gone: list[Key], renew: Callable[[], None]
    ) -> None:  # fmt: skip
        keys = sorted(rows)
        for at in range(0, max(len(keys), len(gone)), ROWS_A_TRANSACTION):
            until = at + ROWS_A_TRANSACTION
            with self._db.write() as session:
                waits.put(session, cluster, {key: rows[key] for key in keys[at:until]})
                waits.remove(session, cluster, gone[at:until])
            renew()

    def _row(self, job: QueuedJob, kept: _Row | None, limits: Limits | None, now: datetime) -> _Row:
        may_start = bool(job.priority and job.eligible_at and job.eligible_at <= now)
        estimate_at = job.start_estimate_at if may_start else None  # of others it is their begin time
        return {
            "partition": job.partition or "", "user": job.user, "priority": job.priority or 0,
            "ranked": may_start and self._knows_all, "eligible_at": job.eligible_at, "estimate_at": estimate_at,
            "first_estimate_at": (kept or {}).get("first_estimate_at") or estimate_at, "started_at": None,
            "planned_nodes": _short(job.scheduled_nodes), "dependency": _short(job.dependency),
            "reservation": _short(job.reservation), "features": _short(job.features),
            "licenses": _short(job.licenses), "array_throttle": job.array_throttle,
            "limit_words": limit_in_words(job, limits) if limits else None,
        }  # fmt: skip

    def _limits_if_needed(self, cluster: str, waiting: Iterable[QueuedJob]) -> Limits | None:
        """The limits, asked for once in LIMITS_EVERY_S at most, and only while one holds a job back.

        Nobody may be there to tell them, as without accounting, or not to us: a reason is without a value then, and
        they are asked for again after LIMITS_AGAIN_AFTER_S.
        """
        if not any(names_limit(job.reason) for job in waiting):
            return None
        if time.monotonic() >= self._limits_at_s:
            self._limits_at_s = time.monotonic() + LIMITS_AGAIN_AFTER_S
            with suppress(SlurmUnavailable):
                self._limits = self._source.limits(cluster)
                self._limits_at_s = time.monotonic() + LIMITS_EVERY_S
        return self._limits


def _key(job: QueuedJob) -> Key:
    if job.array_job_id is not None and job.array_task_id is not None:
        return job.array_job_id, job.array_task_id
    return job.job_id or 0, NO_TASK


def _started(job: QueuedJob | None) -> datetime | None:
    return job.started_at if job is not None else None


def _short(text: str | None) -> str | None:
    return text[:_MOST_CHARS] if text else None
