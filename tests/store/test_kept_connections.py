"""Connections that are kept: when all are in use, and when tables have changed since a statement was planned."""

from __future__ import annotations

from contextlib import ExitStack

import pytest
from sqlalchemy import text
from sqlalchemy.exc import TimeoutError

from tracker.errors import DatabaseUnavailable
from tracker.store import tokens
from tracker.store.database import Database
from tracker.store.identity import Identity
from tracker.store.notices import Teller

on_postgresql = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)


def test_who_gets_no_connection_is_told_so_in_a_sentence(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(db.engine.pool, "_timeout", 0.1)
    with ExitStack() as held:
        with pytest.raises(TimeoutError):
            while True:
                held.enter_context(db.engine.connect())
        with pytest.raises(DatabaseUnavailable, match="all connections to it are in use"), db.read() as session:
            session.connection()
        Teller(db.engine).tell()  # what was written stands, told or not


@on_postgresql
def test_a_statement_planned_before_tables_changed_is_planned_anew(db: Database) -> None:
    with db.write() as session:
        secret = tokens.create(session, "alice", "user", tokens.API)
    alice = Identity("alice", "user")
    assert db.answer(lambda asked: tokens.identify(asked, secret)) == alice
    with db.write() as session:
        session.execute(text('ALTER TABLE tokens ALTER COLUMN "user" TYPE varchar(300)'))
    for _ in range(3):
        assert db.answer(lambda asked: tokens.identify(asked, secret)) == alice
