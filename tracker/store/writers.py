"""Writers: the spool files of runs, how far each is stored, and in which attempt and by which rank it is written."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from itertools import combinations

from sqlalchemy import ColumnElement, String, func, select
from sqlalchemy.orm import Session

from tracker.store import known_runs
from tracker.store.among import among
from tracker.store.known_runs import KnownRun
from tracker.store.tables import Attempt, Run, Writer
from tracker.store.upsert import as_array, upsert

SCRIPT = "script"
"""A writer of the user's program: its rank logs steps, and it may go on where an earlier attempt ended."""
MACHINE = "machine"
"""A writer that samples a node's hardware: it has a node, no rank, and time is its axis."""


@dataclass(frozen=True)
class Logged:
    """What the script's ranks logged in one attempt, that with so many restarts before it.

    `first_step` is the least of its writers' first steps, `next_step` the greatest of the steps that would follow.
    """

    restarts: int
    first_step: int
    next_step: int
    ranks: int
    lowest_rank: int


@dataclass
class HeldWriter:
    """A writer as a request finds and changes it: the columns of its row (see `tables.Writer`)."""

    run_id: str
    name: str
    offset_bytes: int = 0
    next_step: int = 0
    rejected_lines: int = 0
    node: str | None = None
    rank: int = 0
    kind: str = SCRIPT
    restarts: int | None = None
    first_step: int | None = None
    clock_skew_us: int = 0
    batches: int = 0


_COLUMNS = tuple(Writer.__table__.c[one.name] for one in fields(HeldWriter))
_HELD = select(*_COLUMNS).where(among(_COLUMNS[0], "runs"), among(_COLUMNS[1], "names"))


_ARRAYS = ", ".join(
    f"%({column.name})s::{'text' if isinstance(column.type, String) else 'int8'}[]" for column in _COLUMNS
)
_KEEP = f"""
WITH heard AS ({known_runs.TOUCH_SQL})
INSERT INTO writers ({", ".join(column.name for column in _COLUMNS)}) SELECT * FROM unnest({_ARRAYS})
ON CONFLICT (run_id, name) DO UPDATE SET
    {", ".join(f"{column.name} = excluded.{column.name}" for column in _COLUMNS[2:])}
"""  # SQLAlchemy would send a statement a row


def held(session: Session, names: Collection[tuple[str, str]]) -> dict[tuple[str, str], HeldWriter]:
    """The writers with these runs and names, by one statement; new ones where there are none.

    The caller holds the runs locked, and calls `keep` with those it changed.
    """
    found = {(run_id, name): HeldWriter(run_id, name) for run_id, name in names}
    wanted = {"runs": list({one for one, _ in names}), "names": list({one for _, one in names})}
    rows = session.execute(_HELD, wanted)
    found.update({(row[0], row[1]): HeldWriter(*row) for row in rows if (row[0], row[1]) in found})
    return found


def keep(session: Session, changed: Sequence[HeldWriter], now: datetime) -> None:
    """Store writers, new and known ones, and say of their runs that lines came: by one statement on PostgreSQL."""
    run_ids = list({one.run_id for one in changed})
    if changed and session.get_bind().dialect.name == "postgresql":
        rows = zip(*(vars(one).values() for one in changed), strict=True)
        columns = {column.name: as_array(row) for column, row in zip(_COLUMNS, rows, strict=True)}
        session.connection().exec_driver_sql(_KEEP, columns | known_runs.touched(run_ids, now))
    else:
        upsert(session, Writer, [vars(one) for one in changed])
        known_runs.touch(session, run_ids, now)


def lock(session: Session, run_id: str, name: str) -> Writer:
    """The writer, locked until the transaction ends; made if there is none."""
    query = select(Writer).where(Writer.run_id == run_id, Writer.name == name).with_for_update()
    writer = session.scalar(query)
    if writer is None:
        writer = Writer(run_id=run_id, name=name)
        session.add(writer)
        session.flush()
    return writer


def restarts_now(session: Session, run: Run | KnownRun) -> int:
    """How often the run was requeued as far as we know: for a writer that does not say in which attempt it is."""
    if run.cluster is None:
        return 0
    told_by_hooks = session.scalar(select(func.max(Attempt.restarts)).where(Attempt.run_id == run.id))
    return max(run.restarts, told_by_hooks or 0)


def goes_on_at(session: Session, writer: Writer | HeldWriter) -> int:
    """The step at which a new writer begins that names none: after the last one of its rank in earlier attempts."""
    if writer.kind == MACHINE or not writer.restarts:
        return 0
    earlier = (Writer.rank == writer.rank, Writer.restarts < writer.restarts)
    return session.scalar(select(func.max(Writer.next_step)).where(*_script(writer.run_id), *earlier)) or 0


def logged(session: Session, run_id: str) -> list[Logged]:
    """The attempts in which the script logged points, the first one first."""
    query = select(
        Writer.restarts,
        func.min(Writer.first_step),
        func.max(Writer.next_step),
        func.count(Writer.rank.distinct()),
        func.min(Writer.rank),
    )
    rows = session.execute(query.where(*_script(run_id)).group_by(Writer.restarts).order_by(Writer.restarts))
    return [Logged(*row) for row in rows]  # type: ignore[arg-type]  # who has points has a first step, too


@dataclass(frozen=True)
class Author:
    """Whose points a writer has: a rank's or, with `rank` None, those of its node's machine.

    `points_kept` tells what retention left of its run's points.
    """

    rank: int | None
    node: str | None
    restarts: int
    first_step: int
    points_kept: str


def authors(session: Session, run_ids: Sequence[str]) -> dict[tuple[str, str], Author]:
    """Everyone who wrote points of these runs, by run and name of the writer."""
    query = select(
        Writer.run_id, Writer.name, Writer.kind, Writer.rank, Writer.node, Writer.restarts, Writer.first_step,
        Run.points_kept,
    ).where(Writer.run_id.in_(run_ids), Writer.first_step.is_not(None), Run.id == Writer.run_id)  # fmt: skip
    return {
        (run_id, name): Author(None if kind == MACHINE else rank, node, restarts or 0, first_step or 0, kept)
        for run_id, name, kind, rank, node, restarts, first_step, kept in session.execute(query)
    }


def takes_back(attempts: Sequence[Logged]) -> bool:
    """Whether an attempt logged steps again that an earlier one had logged."""
    return any(later.first_step < earlier.next_step for earlier, later in combinations(attempts, 2))


def _script(run_id: str) -> tuple[ColumnElement[bool], ...]:
    return Writer.run_id == run_id, Writer.kind == SCRIPT, Writer.first_step.is_not(None)
