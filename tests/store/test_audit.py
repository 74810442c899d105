"""Who did what is kept, found and in the end forgotten."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from tracker.errors import BadInput
from tracker.store import audit
from tracker.store.database import Database


def noted(db: Database, *entries: tuple[str, str]) -> None:
    for actor, action in entries:
        with db.write() as session:
            audit.note(session, actor, action, "dev:12", "why", address="127.0.0.1")


def test_the_newest_entry_is_read_first_and_page_by_page(db: Database) -> None:
    noted(db, *(("alice", f"run.{number}") for number in range(7)))
    told, cursor = [], None
    while True:
        with db.read() as session:
            page = audit.find(session, limit=3, cursor=cursor)
        told.append([entry.action for entry in page.items])
        cursor = page.next_cursor
        if cursor is None:
            break
    assert told == [["run.6", "run.5", "run.4"], ["run.3", "run.2", "run.1"], ["run.0"]]


def test_entries_are_found_by_who_what_and_when(db: Database) -> None:
    noted(db, ("alice", "token.create"), ("bob", "token.revoke"), ("bob", "tokenXcreate"))
    later = datetime.now(timezone.utc) + timedelta(hours=1)
    with db.read() as session:
        assert {one.action for one in audit.find(session, actor="bob").items} == {"token.revoke", "tokenXcreate"}
        assert len(audit.find(session, action="token.").items) == 2
        assert audit.find(session, action="%").items == []
        assert audit.find(session, since=later).items == []


def test_what_users_send_is_cut_and_can_be_printed(db: Database) -> None:
    evil = "a\x00\x1b[2Jb\ud800\u202e\n" + "x" * 10_000
    with db.write() as session:
        audit.note(session, evil, "refused", evil, evil, address=None)
    with db.read() as session:
        (entry,) = audit.find(session).items
    for text in (entry.actor, entry.target, entry.detail):
        assert len(text) == audit.MOST_CHARS
        assert text.isprintable()
    assert entry.address == ""


def test_what_is_undone_is_not_noted(db: Database) -> None:
    with pytest.raises(RuntimeError), db.write() as session:
        audit.note(session, "alice", "run.delete")
        raise RuntimeError
    with db.read() as session:
        assert audit.find(session).items == []


@pytest.mark.parametrize(
    "cursor", ["x", "1.2", "9" * 18 + "." + "0" * 16, "\u0661.0000000000000000", "1.0000000000000000\n"]
)
def test_a_cursor_that_is_not_ours_is_refused(db: Database, cursor: str) -> None:
    with db.read() as session, pytest.raises(BadInput, match="not one of ours"):
        audit.find(session, cursor=cursor)


def test_old_entries_are_forgotten_some_at_a_time(db: Database) -> None:
    noted(db, *(("alice", f"run.{number}") for number in range(5)))
    with db.read() as session:
        newest = audit.find(session).items[0]
    with db.write() as session:
        assert audit.forget(session, newest.at, 3) == 3
        assert audit.forget(session, newest.at, 3) == 1
    with db.read() as session:
        assert [one.id for one in audit.find(session).items] == [newest.id]
