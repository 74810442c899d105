"""Known writers: files that go on where this process stored them last, brought up to date by one statement.

What is known is looked at again: where anything is not as it was, nothing is stored. On PostgreSQL only, which answers
few statements sooner than many; see docs/decisions/019-known-writers.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection

from tracker.states import LOST
from tracker.store import batches, known_runs, series, summaries
from tracker.store.batches import Brought
from tracker.store.known_runs import KnownRun
from tracker.store.planned import ONCE
from tracker.store.upsert import as_array
from tracker.store.writers import HeldWriter


class Onward(NamedTuple):
    """A writer of a run as it is known, as it is after some lines, and what they bring."""

    run: KnownRun
    known: HeldWriter
    after: HeldWriter
    brought: Brought


_COMPARED = ("offset_bytes", "next_step", "batches", "restarts", "rank", "clock_skew_us")
"""What storing needs of a writer: a transaction that failed may have remembered another one's."""
_FIT = "(SELECT are_all FROM fit)"
_STORE = f"""
WITH there AS MATERIALIZED (
    SELECT runs.id
    FROM unnest(%(ids)s::text[], %(users)s::text[], %(submitted)s::int8[]) AS one(id, "user", submitted_at)
    JOIN runs ON runs.id = one.id
    WHERE runs."user" IS NOT DISTINCT FROM one."user" AND runs.submitted_at IS NOT DISTINCT FROM one.submitted_at
        AND runs.results_due AND runs.state <> '{LOST}'
    ORDER BY runs.id FOR UPDATE OF runs
), here AS MATERIALIZED (
    SELECT 1
    FROM unnest(%(writer_runs)s::text[], %(names)s::text[],
        {", ".join(f"%(known_{one})s::int8[]" for one in _COMPARED)}) AS one(run_id, name, {", ".join(_COMPARED)})
    JOIN writers ON writers.run_id = one.run_id AND writers.name = one.name
    WHERE {" AND ".join(f"writers.{one} = one.{one}" for one in _COMPARED)}
        AND (SELECT count(*) FROM there) = cardinality(%(ids)s::text[])
        AND NOT EXISTS (
            SELECT FROM unnest(%(clusters)s::text[], %(jobs)s::int8[], %(job_runs)s::text[])
                AS one(cluster, job_id, run_id)
            JOIN runs AS other ON other.cluster = one.cluster AND other.job_id = one.job_id AND other.id <> one.run_id)
    FOR UPDATE OF writers
), fit AS MATERIALIZED (
    SELECT count(*) = cardinality(%(names)s::text[]) AS are_all FROM here
), kept AS (
    UPDATE writers SET offset_bytes = one.offset_bytes, next_step = one.next_step, batches = writers.batches + 1
    FROM unnest(%(writer_runs)s::text[], %(names)s::text[], %(offsets)s::int8[], %(steps)s::int8[])
        AS one(run_id, name, offset_bytes, next_step)
    WHERE writers.run_id = one.run_id AND writers.name = one.name AND {_FIT}
), heard AS (
    {known_runs.TOUCH_SQL} AND {_FIT}
), brought AS (
    {batches.INSERT} WHERE {_FIT}
), told AS (
    {summaries.ADD.format(where=f"WHERE {_FIT}")}
)
SELECT are_all FROM fit
"""  # the locks come in the order in which all take them: first those of the runs, by id


def store(connection: Connection, onward: Sequence[Onward], now: datetime) -> bool:
    """Store what lines bring of these writers, each of them once; False, and nothing stored, if one is not as known.

    Their runs have nothing made of their summaries yet (`results_due`), and are not LOST.
    """
    runs = {one.run.id: one.run for one in onward}
    of_jobs = [run for run in runs.values() if run.cluster is not None]
    told = [(one.brought, one.after.restarts or 0, one.after.rank) for one in onward]
    asked = {
        **known_runs.touched(runs, now),
        "ids": as_array([*runs]),
        "users": as_array([run.user for run in runs.values()]),
        "submitted": as_array([known_runs.submitted_us(run) for run in runs.values()]),
        "clusters": as_array([run.cluster for run in of_jobs]),
        "jobs": as_array([run.job_id for run in of_jobs]),
        "job_runs": as_array([run.id for run in of_jobs]),
        "writer_runs": as_array([one.known.run_id for one in onward]),
        "names": as_array([one.known.name for one in onward]),
        **{f"known_{name}": as_array([getattr(one.known, name) for one in onward]) for name in _COMPARED},
        "offsets": as_array([one.after.offset_bytes for one in onward]),
        "steps": as_array([one.after.next_step for one in onward]),
        **batches.columns_of([one.brought for one in onward]),
        **summaries.columns_of(series.figures_of(told)),
    }
    return bool(connection.exec_driver_sql(_STORE, asked, execution_options=ONCE).scalar())
