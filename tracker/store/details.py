"""What a list shows of its runs: thousands of small rows, read as tuples, for objects would take most of its time."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from operator import itemgetter
from typing import Any, NamedTuple

from sqlalchemy import and_, literal, select, union_all
from sqlalchemy.orm import Session
from sqlalchemy.orm.attributes import instance_dict

from tracker.store import tables
from tracker.store.among import among
from tracker.store.tables import Param, Run, Summary, Tag


class Pair(NamedTuple):
    """A param or a tag."""

    key: str
    value: str


class Figures(NamedTuple):
    """A summary, as in its table."""

    metric: str
    last: float | None
    last_step: int
    last_restarts: int
    min: float | None
    max: float | None
    total: float
    finite_count: int
    count: int  # type: ignore[assignment]  # a tuple's own `count` is of no use here


class Gpu(NamedTuple):
    """A GPU that an attempt held, as in its table."""

    node: str
    index: int  # type: ignore[assignment]  # a tuple's own `index` is of no use here
    uuid: str | None
    type: str | None
    mig: str | None
    started_at: datetime | None
    ended_at: datetime | None


class Attempt(NamedTuple):
    """An allocation, as in its table, and its GPUs by node and index."""

    number: int
    started_at: datetime | None
    ended_at: datetime | None
    state: str
    nodes: str | None
    gpu_count: int | None
    shards: int | None
    suspended_s: int | None
    gpus: list[Gpu]


_params, _tags, _summaries = Param.__table__.c, Tag.__table__.c, Summary.__table__.c
_attempts, _gpus = tables.Attempt.__table__, tables.Gpu.__table__
_PAIRS = union_all(
    *(
        select(literal(name).label("name"), of.run_id, of.key, of.value).where(among(of.run_id, "runs"))
        for name, of in (("params", _params), ("tags", _tags))
    )
)
_FIGURES = select(_summaries.run_id, *(_summaries[name] for name in Figures._fields)).where(
    among(_summaries.run_id, "runs")
)
_ATTEMPTS = (
    select(
        _attempts.c.run_id,
        *(_attempts.c[name] for name in Attempt._fields[:-1]),
        *(_gpus.c[name] for name in Gpu._fields),
    )
    .where(among(_attempts.c.run_id, "runs"))
    .select_from(
        _attempts.outerjoin(_gpus, and_(_gpus.c.run_id == _attempts.c.run_id, _gpus.c.attempt == _attempts.c.number))
    )
)


def load(session: Session, runs: Sequence[Run]) -> None:
    """Give runs their params, tags, summary and attempts, sorted by name or number, to read only: three statements."""
    if runs:
        _load_pairs(session, runs)
        load_summary(session, runs)
        _load_attempts(session, runs)


def _load_pairs(session: Session, runs: Sequence[Run]) -> None:
    found: dict[str, dict[str, list[Pair]]] = {"params": _for_each(runs), "tags": _for_each(runs)}
    for row in session.execute(_PAIRS, _named(runs)).all():
        found[row[0]][row[1]].append(Pair._make(row[2:]))
    for name, pairs in found.items():
        _give(runs, name, pairs)


def load_summary(session: Session, runs: Sequence[Run]) -> None:
    """Give runs their summary alone."""
    found: dict[str, list[Figures]] = _for_each(runs)
    for row in session.execute(_FIGURES, _named(runs)).all():
        found[row[0]].append(Figures._make(row[1:]))
    _give(runs, "summary", found)


def _load_attempts(session: Session, runs: Sequence[Run]) -> None:
    found: dict[tuple[str, int], Attempt] = {}
    width = len(Attempt._fields)
    for run_id, *told in session.execute(_ATTEMPTS, _named(runs)).all():
        of_gpu = told[width - 1 :]
        one = found.setdefault((run_id, told[0]), Attempt._make([*told[: width - 1], []]))
        if of_gpu[0] is not None:
            one.gpus.append(Gpu(*of_gpu))
    attempts: dict[str, list[Attempt]] = _for_each(runs)
    for (run_id, _), one in found.items():
        one.gpus.sort(key=lambda gpu: (gpu.node, gpu.index))
        attempts[run_id].append(one)
    _give(runs, "attempts", attempts)


def _for_each(runs: Sequence[Run]) -> dict[str, list[Any]]:
    return {run.id: [] for run in runs}


def _named(runs: Sequence[Run]) -> dict[str, list[str]]:
    return {"runs": [run.id for run in runs]}


def _give(runs: Sequence[Run], name: str, found: dict[str, list[Any]]) -> None:
    """We sort: PostgreSQL would sort the rows of all runs at once, by the rules of a language."""
    for run in runs:
        found[run.id].sort(key=itemgetter(0))
        # What SQLAlchemy's own setter does, without a collection that watches what is changed in it.
        instance_dict(run)[name] = found[run.id]
