"""Everything of many runs, for other programs: part by part, so that any number of them takes the same memory."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session

from tracker.errors import TooLarge
from tracker.store import batches, details, segments
from tracker.store.points import Points
from tracker.store.search.orders import NEWEST_FIRST
from tracker.store.search.pages import Search
from tracker.store.tables import Param, Run, Summary, Tag, Writer
from tracker.store.writers import MACHINE

RUNS_AT_ONCE = 500
MOST_NAMES = 5000
READ_POINTS = 500_000


class Names(NamedTuple):
    """The names of all params, tags and metrics of some runs, sorted."""

    params: list[str]
    tags: list[str]
    metrics: list[str]


@dataclass(frozen=True)
class Stretch:
    """Points of a metric that one process wrote; `rank` is None for a machine."""

    run_id: str
    metric: str
    rank: int | None
    attempt: int
    points: Points


def pages(session: Session, found: Search) -> Iterator[list[str]]:
    """The ids of all runs found, the newest first, some at a time."""
    cursor = None
    while True:
        ids, cursor = found.page(session, NEWEST_FIRST, RUNS_AT_ONCE, cursor)
        if ids:
            yield ids
        if cursor is None:
            return


def names(session: Session, found: Search) -> Names:
    """The names that are columns of the runs found. Raises TooLarge when no table has so many."""
    seen: tuple[set[str], ...] = (set(), set(), set())
    for ids in pages(session, found):
        for names, column in zip(seen, (Param.key, Tag.key, Summary.metric), strict=True):
            names.update(session.scalars(select(column).where(column.class_.run_id.in_(ids)).distinct()))
        if sum(map(len, seen)) > MOST_NAMES:
            raise TooLarge(f"These runs have more than {MOST_NAMES} params, tags and metrics: filter some of the runs.")
    return Names(*(sorted(one) for one in seen))


def runs(session: Session, ids: Sequence[str]) -> list[Run]:
    """These runs with their params, tags and summaries."""
    loaded = {run.id: run for run in session.scalars(select(Run).where(Run.id.in_(ids)))}
    found = [loaded[one] for one in ids]
    details.load(session, found)
    session.expunge_all()
    return found


def points(session: Session, run_id: str, metrics: Collection[str] = ()) -> Iterator[Stretch]:
    """All points of a run, exactly as they were written; of some metrics only if they are given."""
    wanted = list(session.scalars(select(Summary.metric).where(Summary.run_id == run_id).order_by(Summary.metric)))
    wanted = [metric for metric in wanted if not metrics or metric in metrics]
    writers = {one.name: one for one in session.scalars(select(Writer).where(Writer.run_id == run_id))}
    for portion in _portions(segments.index(session, [run_id], wanted)):
        segments.read(session, {segments.EXACT: portion})
        for piece in portion:
            assert piece.points is not None
            yield _stretch(run_id, piece.metric, writers[piece.writer], piece.points)
            piece.points = None
    for _, metric, writer, rest in batches.waiting(session, [run_id], wanted):
        yield _stretch(run_id, metric, writers[writer], rest)
    session.expunge_all()


def _portions(pieces: Sequence[segments.Piece]) -> Iterator[list[segments.Piece]]:
    portion: list[segments.Piece] = []
    count = 0
    for piece in pieces:
        portion.append(piece)
        count += piece.count
        if count >= READ_POINTS:
            yield portion
            portion, count = [], 0
    if portion:
        yield portion


def _stretch(run_id: str, metric: str, writer: Writer, points: Points) -> Stretch:
    rank = None if writer.kind == MACHINE else writer.rank
    return Stretch(run_id, metric, rank, (writer.restarts or 0) + 1, points)
