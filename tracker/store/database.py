"""The connection to the database: SQLite in WAL mode, or PostgreSQL."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy.orm import Session

from tracker.errors import DatabaseUnavailable
from tracker.store import levels
from tracker.store.engine import BUSY_TIMEOUT_S, explained, is_outage, make_engine

__all__ = ["Database", "Session", "is_outage"]


class Database:
    """One database. Raises BadInput when the URL is none, DatabaseUnavailable when the database does not answer."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.engine = make_engine(url)
        self._one_writer = threading.Lock()
        self._writing = self.engine.execution_options(tracker_write=True)
        # PostgreSQL would show each statement of a reader another moment.
        at_one_moment: dict[str, Any] = {"isolation_level": "REPEATABLE READ"} if self.is_postgresql else {}
        self._reading = self.engine.execution_options(**at_one_moment)

    @property
    def is_postgresql(self) -> bool:
        """Whether it is PostgreSQL; otherwise it is SQLite."""
        return self.engine.name == "postgresql"

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A session that sees one moment of the database."""
        with explained(), Session(self._reading, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A session whose changes are stored together at the end, or not at all."""
        with self._turn(), explained(), Session(self._writing, expire_on_commit=False) as session, session.begin():
            yield session

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Wait to be the one who writes: SQLite has one at a time, and by its own way to wait some come never."""
        if self.is_postgresql:
            yield
            return
        if not self._one_writer.acquire(timeout=BUSY_TIMEOUT_S):
            raise DatabaseUnavailable(f"The database does not work now: others write for {BUSY_TIMEOUT_S} s already.")
        try:
            yield
        finally:
            self._one_writer.release()

    def upgrade(self) -> None:
        """Bring the tables to the newest form. Many may call this at once: one works, the others wait."""
        levels.upgrade(self.url)

    def check(self) -> None:
        """Raise DatabaseUnavailable unless the database answers and its tables have the newest form."""
        with explained(), self.engine.connect() as connection:
            levels.check(connection)

    def close(self) -> None:
        """Let the connections go."""
        self.engine.dispose()
