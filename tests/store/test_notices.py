"""Processes hear of what others write, on PostgreSQL; on SQLite they look."""

from __future__ import annotations

import selectors
from datetime import datetime, timezone

from tracker.store import experiments
from tracker.store.database import Database


def test_what_another_process_writes_is_heard(db: Database) -> None:
    listener = db.listen()
    if not db.is_postgresql:
        assert listener is None
        return
    assert listener is not None
    other = Database(db.url)
    with other.write() as session:
        experiments.named(session, "news", datetime.now(timezone.utc))
    with selectors.DefaultSelector() as selector:
        selector.register(listener, selectors.EVENT_READ)
        assert selector.select(timeout=20)
        listener.hear()
        assert not selector.select(timeout=0)
    listener.close()
    other.close()
