"""Series: all points of one metric of one run.

What a request brings is kept as it came (store/batches.py) and made segments soon (store/compaction.py,
store/segments.py); charts read both. The summaries are up to date with each request.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import replace

import numpy as np
from sqlalchemy.orm import Session

from tracker.store import batches, results, summaries
from tracker.store.batches import Block, Brought
from tracker.store.exact import chosen
from tracker.store.points import Points
from tracker.store.tables import Writer


def append(session: Session, writer: Writer, columns: Mapping[str, Points]) -> list[str]:
    """Put points of metrics to the end of a writer's series, and into the summaries.

    A run has at most `summaries.MOST_METRICS` metrics; the answer names those that were one too many and are not kept.
    """
    session.flush()
    brought = Brought(writer.run_id, writer.name, writer.batches, [_block(*one) for one in columns.items()])
    refused = put(session, [(brought, writer.restarts or 0, writer.rank)])
    writer.batches += 1
    results.forget(session, [writer.run_id])
    return refused.get(writer.run_id, [])


def _block(metric: str, points: Points) -> Block:
    lines = np.arange(len(points), dtype=np.uint32)
    rests = chosen(points.rests, np.newaxis)
    return Block((metric,), lines, points.steps, points.times_us, points.values[np.newaxis], rests)


Told = tuple[Brought, int, int]
"""What a request brings of a writer, and how often its run had been requeued then, and the writer's rank."""


def put(session: Session, told: Sequence[Told]) -> dict[str, list[str]]:
    """Keep what a request brings and bring the summaries up to date: the same statements for any number of writers.

    The caller holds the runs locked, and forgets their results.
    The answer names, by run, metrics that were too many (`summaries.MOST_METRICS` a run) and are not kept.
    """
    refused = summaries.refused(session, metrics_of(told))
    if refused:
        told = [(_allowed(one[0], refused.get(one[0].run_id, ())), *one[1:]) for one in told]
    batches.add(session, [brought for brought, _, _ in told])
    summaries.add(session, figures_of(told))
    return refused


def metrics_of(told: Sequence[Told]) -> list[tuple[str, tuple[str, ...]]]:
    """Of each block its run and its metrics."""
    return [(brought.run_id, block.metrics) for brought, _, _ in told for block in brought.blocks]


def figures_of(told: Sequence[Told]) -> summaries.Rows:
    """What it comes to, by run and metric."""
    rows: summaries.Rows = {}
    for brought, restarts, rank in told:
        for metric, figures in summaries.of(brought.blocks, restarts=restarts, rank=rank).items():
            key = (brought.run_id, metric)
            rows[key] = rows[key] + figures if key in rows else figures
    return rows


def _allowed(brought: Brought, refused: Sequence[str]) -> Brought:
    return brought._replace(blocks=[_without(block, {*refused}) for block in brought.blocks]) if refused else brought


def _without(block: Block, metrics: Set[str]) -> Block:
    kept = [place for place, metric in enumerate(block.metrics) if metric not in metrics]
    names = tuple(block.metrics[place] for place in kept)
    return replace(block, metrics=names, values=block.values[kept], rests=chosen(block.rests, kept))
