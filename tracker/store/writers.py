"""Writers: the spool files of runs, how far each is stored, and in which attempt and by which rank it is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from tracker.store.tables import Attempt, Run, Writer

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


def lock(session: Session, run_id: str, name: str) -> Writer:
    """The writer, locked until the transaction ends; made if there is none."""
    query = select(Writer).where(Writer.run_id == run_id, Writer.name == name).with_for_update()
    writer = session.scalar(query)
    if writer is None:
        writer = Writer(
            run_id=run_id,
            name=name,
            offset_bytes=0,
            next_step=0,
            rejected_lines=0,
            rank=0,
            kind=SCRIPT,
            clock_skew_us=0,
            batches=0,
        )
        session.add(writer)
        session.flush()
    return writer


def restarts_now(session: Session, run: Run) -> int:
    """How often the run was requeued as far as we know: for a writer that does not say in which attempt it is."""
    if run.cluster is None:
        return 0
    told_by_hooks = session.scalar(select(func.max(Attempt.restarts)).where(Attempt.run_id == run.id))
    return max(run.restarts, told_by_hooks or 0)


def goes_on_at(session: Session, writer: Writer) -> int:
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
    """Whose points a writer has: a rank's or, with `rank` None, those of its node's machine."""

    rank: int | None
    node: str | None
    restarts: int
    first_step: int


def authors(session: Session, run_ids: Sequence[str]) -> dict[tuple[str, str], Author]:
    """Everyone who wrote points of these runs, by run and name of the writer."""
    query = select(
        Writer.run_id, Writer.name, Writer.kind, Writer.rank, Writer.node, Writer.restarts, Writer.first_step
    ).where(Writer.run_id.in_(run_ids), Writer.first_step.is_not(None))
    return {
        (run_id, name): Author(None if kind == MACHINE else rank, node, restarts or 0, first_step or 0)
        for run_id, name, kind, rank, node, restarts, first_step in session.execute(query)
    }


def takes_back(attempts: Sequence[Logged]) -> bool:
    """Whether an attempt logged steps again that an earlier one had logged."""
    return any(later.first_step < earlier.next_step for earlier, later in combinations(attempts, 2))


def _script(run_id: str) -> tuple[ColumnElement[bool], ...]:
    return Writer.run_id == run_id, Writer.kind == SCRIPT, Writer.first_step.is_not(None)
