"""Whether a database is whole: its form, its file, what refers to what, and that each packed point can be read."""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import exists, func, select, text
from sqlalchemy.orm import InstrumentedAttribute

from tracker.errors import DatabaseUnavailable
from tracker.store import batches
from tracker.store.database import Database
from tracker.store.points import Points
from tracker.store.tables import Artifact, Batch, Run, Segment, Table

RUNS_A_LOOK = 50
MOST_TOLD = 20
UNREADABLE = (ValueError, RuntimeError, struct.error)
"""What unpacking of damaged bytes raises."""
Report = Callable[[str, int], None]


@dataclass
class Finding:
    """What one check came to: how much it looked at, how many problems there are, and the first of them told."""

    check: str
    looked_at: int = 0
    problem_count: int = 0
    problems: list[str] = field(default_factory=list)

    def tell(self, problem: str, count: int = 1) -> None:
        """Note a problem."""
        self.problem_count += count
        if len(self.problems) < MOST_TOLD:
            self.problems.append(problem)


def check(db: Database, artifacts: Path | None, report: Report) -> Iterator[Finding]:
    """All checks, one after the other; when the form is not ours the others have nothing to look at.

    `report` is told how much of a check is done.
    """
    checks: dict[str, Callable[[Finding], None]] = {"level": partial(_level, db)}
    if not db.is_postgresql:
        checks["file"] = partial(_file, db)
    checks |= {"orphans": partial(_orphans, db), "points": partial(_points, db, report)}
    if artifacts is not None:
        checks["artifacts"] = partial(_copies, db, artifacts, report)
    for name, look in checks.items():
        found = Finding(name)
        try:
            look(found)
        except DatabaseUnavailable as problem:  # it is away, or so damaged that nothing can be read
            found.tell(str(problem))
        yield found
        if name == "level" and found.problems:
            return


def _level(db: Database, found: Finding) -> None:
    found.looked_at = 1
    db.check()


def _file(db: Database, found: Finding) -> None:
    found.looked_at = 1
    with db.read() as session:
        for (said,) in session.execute(text(f"PRAGMA integrity_check({MOST_TOLD})")):
            if said != "ok":
                found.tell(str(said))


def _orphans(db: Database, found: Finding) -> None:
    """Rows of runs that are not there: PostgreSQL guards against them, but not where its tables are spread."""
    with db.read() as session:
        for table in Table.metadata.sorted_tables:
            if "run_id" in table.c:
                found.looked_at += 1
                lost = select(func.count()).select_from(table).where(~exists().where(Run.id == table.c.run_id))
                count = session.scalar(lost) or 0
                if count:
                    found.tell(f"{count} rows in `{table.name}` are of runs that are not there.", count)


def _points(db: Database, report: Report, found: Finding) -> None:
    packed: dict[type[Segment | Batch], tuple[InstrumentedAttribute[Any], ...]] = {
        Segment: (Segment.metric, Segment.count, Segment.points, Segment.fine, Segment.coarse),
        Batch: (Batch.writer, Batch.points, Batch.content),
    }
    for table, columns in packed.items():
        for run_ids in _some_runs(db, table.run_id):
            query = select(table.run_id, *columns).where(table.run_id.in_(run_ids))
            with db.read() as session:
                for run_id, name, count, *content in session.execute(query.execution_options(yield_per=100)):
                    found.looked_at += 1
                    problem = _unreadable(table, count, content)
                    if problem:
                        found.tell(f"Points of `{name[:80]}` of run {run_id} cannot be read: {problem}.")
            report("points", found.looked_at)


def _unreadable(table: type[Segment | Batch], count: int, content: Sequence[bytes | None]) -> str | None:
    try:
        if table is Segment:
            there, *_ = (len(Points.unpacked(column)) for column in content if column is not None)
        else:
            there = sum(block.values.size for column in content if column for block in batches.unpack(column))
    except UNREADABLE as problem:
        return str(problem)[:200]
    return None if there == count else f"{there} of {count} are there"


def _some_runs(db: Database, run_id: InstrumentedAttribute[str]) -> Iterator[list[str]]:
    """All runs that have rows in a table, some at a time, so that no transaction is long."""
    run_ids = [""]
    while run_ids:
        with db.read() as session:
            page = select(run_id).distinct().where(run_id > run_ids[-1]).order_by(run_id)
            run_ids = list(session.scalars(page.limit(RUNS_A_LOOK)))
        if run_ids:
            yield run_ids


def _copies(db: Database, store: Path, report: Report, found: Finding) -> None:
    """Whether copies of artifacts that should be in this store are there."""
    last = ("", "")
    while True:
        with db.read() as session:
            page = select(Artifact.run_id, Artifact.id, Artifact.name, Artifact.sha256)
            page = page.where(Artifact.copied_to == os.path.realpath(store), Artifact.sha256.is_not(None))
            after = (Artifact.run_id > last[0]) | ((Artifact.run_id == last[0]) & (Artifact.id > last[1]))
            rows = session.execute(page.where(after).order_by(Artifact.run_id, Artifact.id).limit(1000)).all()
        if not rows:
            return
        for run_id, artifact_id, name, digest in rows:
            found.looked_at += 1
            problem = _lacking(store / "sha256" / str(digest)[:2] / str(digest)[2:])
            if problem:
                found.tell(f"The copy of `{name[:80]}` ({artifact_id[:64]}) of run {run_id} is not there: {problem}.")
        last = (rows[-1].run_id, rows[-1].id)
        report("artifacts", found.looked_at)


def _lacking(path: Path) -> str | None:
    try:
        return None if stat.S_ISREG(path.lstat().st_mode) else "it is no file"
    except OSError as problem:
        return problem.strerror
