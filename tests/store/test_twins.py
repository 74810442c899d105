"""Two runs that turn out to be one: nothing of either is lost, and no row's key is changed."""

from __future__ import annotations

from sqlalchemy import event

from tests.agent_side import ADMIN, Agent, lines, points
from tests.store.filled import BESIDE, Rows, fill, rows
from tests.web import samples
from tracker.store import retention, runs, twins
from tracker.store.database import Database, Session
from tracker.store.tables import Run, Table


def _of_runs(db: Database) -> dict[str, Rows]:
    tables = {str(table.__tablename__) for table in retention.tables_of_runs()}
    with db.read() as session:
        return {name: found for name, found in rows(session.connection()).items() if name in tables}


def _key(name: str) -> list[str]:
    return [column.name for column in Table.metadata.tables[name].primary_key if column.name != "run_id"]


def _joined(name: str, newer: Rows, older: Rows) -> dict[tuple[object, ...], dict[str, object]]:
    """What a table has of a run that two runs became: what both had is the newer one's."""
    if name == "log_pieces":
        streams = {row["stream"] for row in newer}
        older = [row for row in older if row["stream"] not in streams]
    return {tuple(row[one] for one in _key(name)): row for row in (*older, *newer)}


def _said(session: Session) -> list[str]:
    """The statements of this session from now on."""
    said = list[str]()
    event.listen(session.connection(), "before_cursor_execute", lambda *told: said.append(told[2]))
    return said


def test_all_that_either_had_is_there_once(db: Database) -> None:
    fill(db)
    with db.write() as session:
        into = samples.resumed_twice(session, ranks=1, steps=30)
        newer = runs.get(session, ADMIN, "dev:12")
        for run, text in ((into, "older\n" * 9), (newer, "newer\n")):
            samples.print_output(session, run, text)
        samples.print_output(session, into, "its own\n", stream="stderr")
        began = session.get_one(Run, BESIDE)
        assert began.parent_id == newer.id
    before = _of_runs(db)
    filled = {name for name, found in before.items() if any(row["run_id"] == newer.id for row in found)}
    assert filled >= {"params", "tags", "notes", "summaries", "batches", "writers", "media", "captures", "artifacts",
                      "attempts", "gpus", "logs", "log_pieces", "hook_events"}  # fmt: skip
    with db.write() as session:
        said = _said(session)
        twins.absorb(session, [(session.get_one(Run, newer.id), session.get_one(Run, into.id))])
    after = _of_runs(db)
    for name, found in before.items():
        its = {run_id: [row for row in found if row["run_id"] == run_id] for run_id in (newer.id, into.id)}
        expected = _joined(name, its[newer.id], its[into.id])
        now = [row for row in after[name] if row["run_id"] in its]
        if name != "results":  # they are made again
            assert now == [expected[key] | {"run_id": into.id} for key in sorted(expected)], name
        others = [row for row in found if row["run_id"] not in its]
        assert [row for row in after[name] if row["run_id"] not in its] == others, name
    with db.read() as session:
        assert session.get(Run, newer.id) is None
        assert session.get_one(Run, BESIDE).parent_id == into.id
    assert [one for one in said if "SET run_id" in one] == []


def test_many_pairs_take_as_many_statements_as_one(db: Database) -> None:
    counts = list[int]()
    for pairs, first in ((1, 100), (20, 200)):
        for job in range(first, first + 2 * pairs):
            Agent(db).send(lines(f"dev.{job}", *points(2), writer=f"w{job}"))
        with db.write() as session:
            said = _said(session)
            found = [runs.get_locked(session, ADMIN, f"dev:{job}") for job in range(first, first + 2 * pairs)]
            said.clear()
            twins.absorb(session, list(zip(found[:pairs], found[pairs:], strict=True)))
        counts.append(len(said))
        with db.read() as session:
            kept = [runs.get(session, ADMIN, f"dev:{job}") for job in range(first + pairs, first + 2 * pairs)]
            assert [sum(one.count for one in run.summary) for run in kept] == [2] * pairs
    assert counts[0] == counts[1] < 40
