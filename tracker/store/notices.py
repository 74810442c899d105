"""News between processes that something was written: PostgreSQL's LISTEN and NOTIFY. SQLite has nothing of the kind."""

from __future__ import annotations

import threading
import time
from typing import Any

from sqlalchemy import Engine, text
from sqlalchemy.exc import SQLAlchemyError

from tracker.errors import DatabaseUnavailable
from tracker.store.engine import explained

CHANNEL = "tracker_changes"
AT_MOST_EVERY_S = 0.3
"""A process tells no more often. Who hears of it looks a little later than that, and so sees what came meanwhile."""


class Teller:
    """Tells all who listen that something was written, outside the transaction that wrote it.

    A NOTIFY within it would make all who commit wait for each other.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._lock = threading.Lock()
        self._told_s = 0.0

    def tell(self) -> None:
        """Tell it, unless that was done a moment ago. Nothing is raised: what was written stands, told or not."""
        with self._lock:
            now_s = time.monotonic()
            if now_s - self._told_s < AT_MOST_EVERY_S:
                return
            self._told_s = now_s
        try:
            with self._engine.connect() as connection:
                connection.execute(text(f"NOTIFY {CHANNEL}"))
        except SQLAlchemyError:
            pass  # listeners look from time to time without being told


class Listener:
    """A connection that hears of what is written; `fileno` is readable when there is news."""

    def __init__(self, engine: Engine) -> None:
        """Raises DatabaseUnavailable."""
        with explained():
            pooled: Any = engine.raw_connection()
            self._connection = pooled.driver_connection
            pooled.detach()
            self._connection.set_session(isolation_level="READ COMMITTED", autocommit=True)
            with self._connection.cursor() as cursor:
                cursor.execute(f"LISTEN {CHANNEL}")

    def fileno(self) -> int:
        """The descriptor to wait for."""
        return int(self._connection.fileno())

    def hear(self) -> None:
        """Take the news. Raises DatabaseUnavailable when the connection is gone."""
        try:
            self._connection.poll()
        except Exception as problem:  # psycopg2's own errors do not pass SQLAlchemy here
            raise DatabaseUnavailable(f"The database does not work now: {problem}.") from problem
        self._connection.notifies.clear()

    def close(self) -> None:
        """Let the connection go."""
        self._connection.close()
