"""Batches: points as requests brought them, until compaction (store/series.py) makes series of them.

All points that one request brings of one writer are one row, however many metrics they are of, so that ingesting costs
one row a spool file. They come as **blocks**: the lines of a file that have the same metrics, one step and one time a
line. A batch's `content` is one line of JSON, `[[["loss","acc"],1000],[["val/loss"],2]]` (of each block its metrics
and how many lines it has; and the places of its metrics that have rests, see store/exact.py, if any has), and then of
each block, little-endian and with nothing between:

| what | how many | as |
|---|---|---|
| places of its lines in the batch, ascending; only if there are several blocks | lines | uint32 |
| steps | lines | int64 |
| times, microseconds since 1970 | lines | int64 |
| values of its first metric, then of the next one, … | metrics x lines | float64 |
| rests of the first metric that has some, then of the next one, … | metrics with rests x lines | int64 |

A metric may be in several blocks, and even twice in one: its points are in the order of their lines then.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple
from zlib import crc32

import numpy as np
import orjson
from numpy.typing import NDArray
from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from tracker.store.among import among
from tracker.store.exact import chosen
from tracker.store.points import Floats, Ints, Points
from tracker.store.tables import Batch
from tracker.store.upsert import as_array

_COLUMNS = "run_id, writer, number, points, due, content"
_KINDS = {"run_id": "text", "writer": "text", "number": "int8", "points": "int8", "due": "bool", "content": "text"}
_ON_SQLITE = f"INSERT INTO batches ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?)"
INSERT = f"""
INSERT INTO batches ({_COLUMNS}) SELECT run_id, writer, number, points, due, decode(content, 'hex')
FROM unnest({", ".join(f"%(batch_{name})s::{kind}[]" for name, kind in _KINDS.items())}) AS one({_COLUMNS})
"""
"""Keeps what `columns_of` tells, on PostgreSQL. SQLAlchemy would make a parameter of each value."""

MANY = 64
"""So many batches of a writer wait at most, but for a moment, and one that has MANY_POINTS waits for no others."""
MANY_POINTS = 8192


@dataclass(frozen=True)
class Block:
    """Lines with the same metrics. `lines` are their places among all that come together, ascending.

    `times_us` are microseconds since 1970; `values` has a row of each metric, and so has `rests` if there are any.
    """

    metrics: tuple[str, ...]
    lines: NDArray[np.uint32]
    steps: Ints
    times_us: Ints
    values: Floats
    rests: Ints | None = None

    @property
    def with_rests(self) -> list[int]:
        """The places of the metrics that have rests."""
        return [] if self.rests is None else np.flatnonzero(self.rests.any(axis=1)).tolist()


class Pending(NamedTuple):
    """Points of a metric from one writer that are in batches only, in the order written; `last` is the last batch."""

    writer: str
    metric: str
    points: Points
    last: int


class Brought(NamedTuple):
    """What a request brings of one writer: of its batches the one with this number."""

    run_id: str
    writer: str
    number: int
    blocks: Sequence[Block]


def add(session: Session, brought: Sequence[Brought]) -> None:
    """Keep what a request brings, of any number of writers by one statement."""
    rows, connection = _rows(brought), session.connection()
    if rows and connection.dialect.name == "postgresql":
        connection.exec_driver_sql(INSERT, _columns(rows))
    elif rows:
        connection.exec_driver_sql(_ON_SQLITE, rows)


def columns_of(brought: Sequence[Brought]) -> dict[str, str]:
    """The parameters of INSERT that keep what a request brings."""
    return _columns(_rows(brought))


_Row = tuple[str, str, int, int, bool, bytes]


def _columns(rows: Sequence[_Row]) -> dict[str, str]:
    *columns, contents = zip(*rows, strict=True) if rows else [()] * len(_KINDS)
    told = (*map(as_array, columns), as_array([one.hex() for one in contents]))
    return {f"batch_{name}": column for name, column in zip(_KINDS, told, strict=True)}


def _rows(brought: Sequence[Brought]) -> list[_Row]:
    return [_row(one, count) for one in brought if (count := sum(block.values.size for block in one.blocks))]


def _row(brought: Brought, count: int) -> _Row:
    due = (brought.number + 1 + turn_of(brought.run_id, brought.writer)) % MANY == 0 or count >= MANY_POINTS
    return brought.run_id, brought.writer, brought.number, count, due, pack(brought.blocks)


def turn_of(run_id: str, writer: str) -> int:
    """By how many batches a writer is due before others: those of all nodes of a cluster may have begun at once."""
    return crc32(f"{run_id} {writer}".encode()) % MANY


def pending(
    session: Session, run_id: str, metric: str | None = None, writer: str | None = None, up_to: int | None = None
) -> list[Pending]:
    """What is not yet compacted of a run, by writer; of one metric, one writer or up to a batch if that is given."""
    query = select(Batch.writer, Batch.number, Batch.content).where(Batch.run_id == run_id)
    if writer is not None:
        query = query.where(Batch.writer == writer)
    if up_to is not None:
        query = query.where(Batch.number <= up_to)
    rows = session.execute(query.order_by(Batch.writer, Batch.number)).all()
    wanted = None if metric is None else {metric}
    found: list[Pending] = []
    for name, some in groupby(rows, key=lambda row: row[0]):
        mine = [*some]
        columns = _joined((content for *_, content in mine), wanted)
        found += (Pending(name, one, points, mine[-1][1]) for one, points in columns.items())
    return found


def waiting(
    session: Session, run_ids: Sequence[str], metrics: Sequence[str], writers: Collection[str] | None = None
) -> Iterator[tuple[str, str, str, Points]]:
    """What is not yet compacted of these metrics of runs: run, metric, writer and points, in the order written.

    Of writers with these names only if they are given.
    """
    query = select(Batch.run_id, Batch.writer, Batch.content).where(Batch.run_id.in_(run_ids))
    if writers is not None:
        query = query.where(among(Batch.__table__.c.writer, "names").params(names=writers))
    wanted = set(metrics)
    rows = session.execute(query.order_by(Batch.run_id, Batch.writer, Batch.number))
    for (run_id, writer), mine in groupby(rows, key=lambda row: row[:2]):
        for metric, points in _joined((content for *_, content in mine), wanted).items():
            yield run_id, metric, writer, points


def _joined(contents: Iterable[bytes], metrics: Set[str] | None) -> dict[str, Points]:
    """The points of each metric, or of these metrics, in batches that follow each other."""
    found: dict[str, list[Points]] = {}
    for blocks in _fewer(map(unpack, contents)):
        for metric, points in points_of(blocks, metrics).items():
            found.setdefault(metric, []).append(points)
    return {metric: Points.joined(pieces) for metric, pieces in found.items()}


def _fewer(batches: Iterable[list[Block]]) -> Iterator[list[Block]]:
    """The same points in fewer batches: those of a line or more of the same metrics, as most are, become one."""
    for metrics, some in groupby(batches, key=_alike):
        if metrics is None:
            yield from some
            continue
        blocks = [one for (one,) in some]
        steps = np.concatenate([one.steps for one in blocks])
        times_us = np.concatenate([one.times_us for one in blocks])
        values = np.concatenate([one.values for one in blocks], axis=1)
        yield [Block(metrics, np.arange(len(steps), dtype=np.uint32), steps, times_us, values)]


def _alike(batch: list[Block]) -> tuple[str, ...] | None:
    """The metrics of a batch of one block without rests."""
    return batch[0].metrics if len(batch) == 1 and batch[0].rests is None else None


def remove(session: Session, run_id: str, last: Mapping[str, int]) -> None:
    """Forget batches that are compacted: of each writer those up to this number."""
    for name, number in last.items():
        mine = (Batch.run_id == run_id, Batch.writer == name, Batch.number <= number)
        session.execute(delete(Batch).where(*mine), execution_options={"synchronize_session": False})


def pack(blocks: Sequence[Block]) -> bytes:
    """A batch's content; see the top of this file."""
    told = [[block.metrics, len(block.steps), *filter(None, [block.with_rests])] for block in blocks]
    pieces = [orjson.dumps(told, option=orjson.OPT_APPEND_NEWLINE)]
    for block in blocks:
        if len(blocks) > 1:
            pieces.append(block.lines.astype("<u4", copy=False).tobytes())
        pieces.append(block.steps.astype("<i8", copy=False).tobytes())
        pieces.append(block.times_us.astype("<i8", copy=False).tobytes())
        pieces.append(block.values.astype("<f8", copy=False).tobytes())
        if block.rests is not None:
            pieces.append(block.rests[block.with_rests].astype("<i8", copy=False).tobytes())
    return b"".join(pieces)


def unpack(content: bytes) -> list[Block]:
    """The blocks of a batch's content."""
    at = content.index(b"\n") + 1
    told = orjson.loads(content[:at])

    def column(kind: str, count: int) -> NDArray[np.generic]:
        nonlocal at
        found = np.frombuffer(content, kind, count, at)
        at += found.nbytes
        return found

    blocks = []
    for metrics, count, *more in told:
        lines = column("<u4", count) if len(told) > 1 else np.arange(count, dtype=np.uint32)
        steps, times_us = column("<i8", count), column("<i8", count)
        values = column("<f8", count * len(metrics)).reshape(len(metrics), count)
        rests = None
        if more:
            rests = np.zeros(values.shape, np.int64)
            rests[more[0]] = column("<i8", count * len(more[0])).reshape(len(more[0]), count)
        blocks.append(Block(tuple(metrics), lines, steps, times_us, values, rests))  # type: ignore[arg-type]
    return blocks


def points_of(blocks: Iterable[Block], metrics: Set[str] | None = None) -> dict[str, Points]:
    """The points of each metric, or of these metrics, in the order of their lines."""
    found: dict[str, list[tuple[NDArray[np.uint32], Points]]] = {}
    for block in blocks:
        for place, one in enumerate(block.metrics):
            if metrics is None or one in metrics:
                values, rests = block.values[place], chosen(block.rests, place)
                found.setdefault(one, []).append((block.lines, Points(block.steps, block.times_us, values, rests)))
    return {one: _in_order(pieces) for one, pieces in found.items()}


def _in_order(pieces: list[tuple[NDArray[np.uint32], Points]]) -> Points:
    if len(pieces) == 1:
        return pieces[0][1]
    lines = np.concatenate([lines for lines, _ in pieces])
    return Points.joined([points for _, points in pieces])[np.argsort(lines, kind="stable")]
