"""Summaries: what all points of each metric of a run come to, brought up to date by one statement a request."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from sqlalchemy import event, func, select
from sqlalchemy.orm import Session

from tracker.store.among import among
from tracker.store.batches import Block
from tracker.store.points import Floats
from tracker.store.tables import Summary
from tracker.store.upsert import as_array

MOST_METRICS = 2000
"""Metrics of one run: as much as people can look at, and little enough that no user's run makes others wait."""
_OF_RUN = Summary.__table__.c.run_id
_COUNTS = select(_OF_RUN, func.count()).where(among(_OF_RUN, "runs")).group_by(_OF_RUN)
_LARGEST = float(np.finfo(np.float64).max)
_WIDEST = 1e300
"""No spread is greater: databases refuse sums that are no numbers."""


class Figures(NamedTuple):
    """What some points of a metric come to, by the columns of the table; `line` is the place of the last point."""

    last: float | None
    last_step: int
    last_restarts: int
    last_rank: int
    last_time_us: int
    min: float | None
    max: float | None
    total: float
    spread: float | None
    finite_count: int
    points: int
    line: int

    def __add__(self, later: Figures) -> Figures:  # type: ignore[override]
        """What these points and later ones come to. Points of equal rank and time: the last line's counts."""
        newest = later if later._age() >= self._age() else self
        return Figures(
            *newest[:5],
            min=later.min if self.min is None or (later.min is not None and later.min < self.min) else self.min,
            max=later.max if self.max is None or (later.max is not None and later.max > self.max) else self.max,
            total=min(max(self.total + later.total, -_LARGEST), _LARGEST),
            spread=self._spread(later),
            finite_count=self.finite_count + later.finite_count,
            points=self.points + later.points,
            line=newest.line,
        )

    def _spread(self, later: Figures) -> float | None:
        """As Chan, Golub and LeVeque (1983) put them together: exact where sums of squares are not."""
        if not self.finite_count or not later.finite_count:
            return later.spread if later.finite_count else self.spread
        if self.spread is None or later.spread is None:
            return None
        apart = later.total / later.finite_count - self.total / self.finite_count
        share = self.finite_count * later.finite_count / (self.finite_count + later.finite_count)
        return min(self.spread + later.spread + apart * apart * share, _WIDEST)

    def _age(self) -> tuple[int, ...]:
        return self.last_restarts, -self.last_rank, self.last_time_us, self.line


Rows = dict[tuple[str, str], Figures]
"""By run and metric."""


def of(blocks: Iterable[Block], *, restarts: int, rank: int) -> dict[str, Figures]:
    """What the points of a writer come to. `last` is None for NaN, which SQLite cannot keep."""
    found: dict[str, Figures] = {}
    for block in blocks:
        for metric, figures in zip(block.metrics, _of_block(block, restarts, rank), strict=True):
            found[metric] = found[metric] + figures if metric in found else figures
    return found


def _of_block(block: Block, restarts: int, rank: int) -> Iterable[Figures]:
    count = len(block.steps)
    if count == 1:
        return _of_line(block, restarts, rank)
    return _of_lines(block, count, restarts, rank)


def _of_line(block: Block, restarts: int, rank: int) -> list[Figures]:
    """What many requests bring: of columns that short numpy would take ten times as long."""
    whose = int(block.steps[0]), restarts, rank, int(block.times_us[0])
    line = int(block.lines[0])
    found = []
    for value in block.values[:, 0].tolist():
        if math.isfinite(value):
            found.append(Figures(value, *whose, value, value, value, 0.0, 1, 1, line))
        else:
            known = None if math.isnan(value) else value
            found.append(Figures(known, *whose, None, None, 0.0, 0.0, 0, 1, line))
    return found


def _of_lines(block: Block, count: int, restarts: int, rank: int) -> Iterable[Figures]:
    newest = count - 1 - int(np.argmax(block.times_us[::-1]))  # of equal times the one written last
    whose = int(block.steps[newest]), restarts, rank, int(block.times_us[newest])
    line = int(block.lines[newest])
    last: list[float] = block.values[:, newest].tolist()
    for value, (least, greatest, total, spread, finite) in zip(last, _ranges(block.values), strict=True):
        known = None if math.isnan(value) else value
        if finite:
            yield Figures(known, *whose, least, greatest, total, spread, finite, count, line)
        else:
            yield Figures(known, *whose, None, None, 0.0, 0.0, 0, count, line)


def _ranges(values: Floats) -> Iterable[tuple[float, float, float, float, int]]:
    """Of the finite values of each row the least, greatest and sum, the squared distances from their mean, how many."""
    finite = np.isfinite(values)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        if finite.all():
            counts = np.full(len(values), values.shape[1])
            least, greatest, totals = values.min(axis=1), values.max(axis=1), values.sum(axis=1)
            apart = values - (totals / counts)[:, np.newaxis]
        else:
            counts = np.count_nonzero(finite, axis=1)
            least, greatest = (
                np.where(finite, values, np.inf).min(axis=1),
                np.where(finite, values, -np.inf).max(axis=1),
            )
            totals = np.where(finite, values, 0.0).sum(axis=1)
            apart = np.where(finite, values - (totals / counts)[:, np.newaxis], 0.0)
        spreads = np.fmin(np.square(apart).sum(axis=1), _WIDEST)
    # The greatest float instead of infinity, which is no number in a sum.
    columns = least, greatest, np.nan_to_num(totals), spreads, counts
    return zip(*(column.tolist() for column in columns), strict=True)


def refused(session: Session, brought: Iterable[tuple[str, tuple[str, ...]]]) -> dict[str, list[str]]:
    """By run which of the metrics that blocks bring are too many: a run has at most MOST_METRICS, those it has stay.

    Who brings what a transaction of this process has stored before is not asked about: nearly everybody.
    """
    unsure = dict.fromkeys(one for one in brought if hash(one) not in _stored)
    if not unsure:
        return {}
    names: dict[str, dict[str, None]] = {}
    for run, metrics in unsure:
        names.setdefault(run, {}).update(dict.fromkeys(metrics))
    too_many = _too_many(session, {run: list(some) for run, some in names.items()})
    _note_when_stored(session, {hash(one) for one in unsure if one[0] not in too_many})
    return too_many


_MOST_NOTED = 100_000
_stored: set[int] = set()
"""Hashes of runs and metrics that have summaries: text is hashed with a secret of the process, and a hash is small.

A run that was purged and comes again may have twice as many metrics for it, which is no harm.
"""


def are_known(brought: Iterable[tuple[str, tuple[str, ...]]]) -> bool:
    """Whether a transaction of this process has stored all of them before, so that none can be too many."""
    return all(hash(one) in _stored for one in brought)


def _note_when_stored(session: Session, hashes: set[int]) -> None:
    def note(_session: Session) -> None:
        if len(_stored) + len(hashes) > _MOST_NOTED:
            _stored.clear()
        _stored.update(hashes)

    if not session.in_nested_transaction():  # which may be undone after it was ended well
        event.listen(session, "after_commit", note, once=True)


def _too_many(session: Session, brought: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    counts: dict[str, int] = dict(session.execute(_COUNTS, {"runs": list(brought)}).all())
    crowded = [run for run, metrics in brought.items() if counts.get(run, 0) + len(metrics) > MOST_METRICS]
    if not crowded:
        return {}
    known = set(session.execute(select(Summary.run_id, Summary.metric).where(Summary.run_id.in_(crowded))))
    fresh = {run: [metric for metric in brought[run] if (run, metric) not in known] for run in crowded}
    return {run: metrics[max(MOST_METRICS - counts.get(run, 0), 0) :] for run, metrics in fresh.items()}


def add(session: Session, rows: Rows) -> None:
    """Bring summaries up to date, whatever their number by one statement. The caller holds the runs locked.

    `last` is the newest attempt's lowest rank's last point by time: late points of others do not touch it.
    """
    if not rows:
        return
    connection = session.connection()
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(ADD.format(where=""), columns_of(rows))
    else:
        connection.exec_driver_sql(_ON_SQLITE, _told(rows))


def columns_of(rows: Rows) -> dict[str, str]:
    """The parameters of ADD: text of arrays costs a small part of so many parameters."""
    columns = dict(zip(_NAMES, zip(*_told(rows), strict=True) if rows else [()] * len(_NAMES), strict=True))
    last, texts = columns["last"], {"last": as_array(columns["last"])}
    for name, column in columns.items():  # of single points four are the same
        texts[name] = texts["last"] if all(map(operator.is_, column, last)) else as_array(column)
    return {f"summary_{name}": text for name, text in texts.items()}


def _told(rows: Rows) -> list[tuple[Any, ...]]:
    return [(run, metric, *figures[:-1]) for (run, metric), figures in rows.items()]


_NAMES = ("run_id", "metric", *Figures._fields[:-2], "count")
_KINDS = ("text", "text", "float8", *("int8",) * 4, *("float8",) * 4, *("int8",) * 2)
_OF_LAST = ("last", "last_step", "last_restarts", "last_rank", "last_time_us")
_IS_NEWER = """(excluded.last_restarts, -excluded.last_rank, excluded.last_time_us)
        >= (known.last_restarts, -known.last_rank, known.last_time_us)"""
# PostgreSQL refuses to calculate what is too great for a float, or so small that nothing of it is left.
_MEANS = [
    f"CASE WHEN abs({one}.total) < 1e-280 THEN 0 ELSE {one}.total / {one}.finite_count END"
    for one in ("excluded", "known")
]
_APART = f"(({_MEANS[0]}) / 2 - ({_MEANS[1]}) / 2)"
_SHARE = """(CAST(4 AS DOUBLE PRECISION) * known.finite_count * excluded.finite_count
        / (known.finite_count + excluded.finite_count))"""
_UPSERT = f"""
INSERT INTO summaries AS known ({", ".join(f'"{name}"' for name in _NAMES)}) {{rows}}
ON CONFLICT (run_id, metric) DO UPDATE SET
    {", ".join(f"{one} = CASE WHEN {_IS_NEWER} THEN excluded.{one} ELSE known.{one} END" for one in _OF_LAST)},
    "min" = CASE WHEN known."min" IS NULL OR excluded."min" < known."min" THEN excluded."min" ELSE known."min" END,
    "max" = CASE WHEN known."max" IS NULL OR excluded."max" > known."max" THEN excluded."max" ELSE known."max" END,
    total = CASE WHEN excluded.total > 0 AND known.total > {_LARGEST!r} - excluded.total THEN {_LARGEST!r}
                 WHEN excluded.total < 0 AND known.total < -{_LARGEST!r} - excluded.total THEN -{_LARGEST!r}
                 ELSE known.total + excluded.total END,
    spread = CASE WHEN known.finite_count = 0 THEN excluded.spread
                  WHEN excluded.finite_count = 0 OR known.spread IS NULL THEN known.spread
                  WHEN abs({_APART}) > 1e140 OR known.spread >= {_WIDEST!r} THEN {_WIDEST!r}
                  WHEN abs({_APART}) < 1e-140 THEN known.spread + excluded.spread
                  ELSE known.spread + excluded.spread + {_APART} * {_APART} * {_SHARE} END,
    finite_count = known.finite_count + excluded.finite_count,
    "count" = known."count" + excluded."count"
"""
_ARRAYS = ", ".join(f"%(summary_{name})s::{kind}[]" for name, kind in zip(_NAMES, _KINDS, strict=True))
ADD = _UPSERT.format(rows=f"SELECT * FROM unnest({_ARRAYS}) {{where}}")
"""Brings summaries up to date with what `columns_of` tells, on PostgreSQL; `where` may be a condition."""
_ON_SQLITE = _UPSERT.format(rows=f"VALUES ({', '.join('?' * len(_NAMES))})")
