"""The connection to the database: SQLite in WAL mode, or PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from copy import copy
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from tracker.errors import BadInput, DatabaseUnavailable
from tracker.store import levels
from tracker.store.engine import BUSY_TIMEOUT_S, explained, is_outage, make_by_key_engine, make_engine
from tracker.store.notices import Listener, Teller
from tracker.store.replica import Replica
from tracker.store.turns import Turns

Answer = TypeVar("Answer")

__all__ = ["Connection", "Database", "Session", "is_outage"]


class Database:
    """One database. Raises BadInput when the URL is none, DatabaseUnavailable when the database does not answer.

    With a `replica_url`, `lagging` reads a replica of it that is at most `max_lag_s` behind.
    """

    def __init__(self, url: str, replica_url: str = "", max_lag_s: float = 10.0) -> None:
        self.url = url
        self.engine = make_engine(url, asks_always=bool(replica_url))
        self._turns = None if self.is_postgresql else Turns(self.engine.url.database or "")
        self._teller = Teller(self.engine) if self.is_postgresql else None
        self.by_key_engine = make_by_key_engine(url) if self.is_postgresql else None
        self._writing = self.engine.execution_options(tracker_write=True)
        # PostgreSQL would show each statement of a reader another moment.
        at_one_moment: dict[str, Any] = {"isolation_level": "REPEATABLE READ"} if self.is_postgresql else {}
        self._reading = self.engine.execution_options(**at_one_moment)
        self.replica: Replica | None = None
        self._from_replica: Engine | None = None
        if replica_url:
            if not self.is_postgresql:
                raise BadInput("Only PostgreSQL has replicas: `database_replica` goes with a `database` of PostgreSQL.")
            self.replica = Replica(make_engine(replica_url, asks_always=True), self.engine, max_lag_s)
            self._twin = copy(self)
            self._twin._from_replica = self.replica.engine.execution_options(**at_one_moment)

    @property
    def is_postgresql(self) -> bool:
        """Whether it is PostgreSQL; otherwise it is SQLite."""
        return self.engine.name == "postgresql"

    @property
    def lagging(self) -> Database:
        """The same database, whose reads may come from the replica and thus from some seconds ago."""
        return self if self.replica is None else self._twin

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A session that sees one moment of the database."""
        with explained():
            session = Session(self._reader(), expire_on_commit=False)
        try:
            with explained(), session:
                yield session
        except DatabaseUnavailable:
            if self.replica is not None and session.bind is self._from_replica:
                self.replica.failed()  # who asks again is answered by the primary
            raise

    def _reader(self) -> Engine:
        """Where to read: the replica if it may be read, else the primary; while that is away the replica after all."""
        if self.replica is None or self._from_replica is None:
            return self._reading
        self.replica.watch()
        if self.replica.usable and self._answers(self._from_replica):
            return self._from_replica
        self.replica.failed()
        return self._reading if self._answers(self._reading) else self._from_replica

    @staticmethod
    def _answers(engine: Engine) -> bool:
        try:
            engine.connect().close()
        except DBAPIError:
            return False
        return True

    @contextmanager
    def write(self, within_s: float = BUSY_TIMEOUT_S) -> Iterator[Session]:
        """A session whose changes are stored together at the end, or not at all.

        Raises DatabaseUnavailable when on SQLite others write for longer than `within_s`.
        """
        turn = self._turns.mine(within_s) if self._turns else nullcontext()
        with turn, explained(), Session(self._writing, expire_on_commit=False) as session, session.begin():
            yield session
        if self._teller:
            self._teller.tell()

    @contextmanager
    def by_key(self) -> Iterator[Connection]:
        """A connection for the few statements that look up by keys what every delivery needs; of PostgreSQL only.

        Each is stored by itself, and planned once if it has the options `planned.ONCE`. One that fails may or may not
        have been stored.
        """
        assert self.by_key_engine is not None
        with explained(), self.by_key_engine.connect() as connection:
            yield connection
        if self._teller:
            self._teller.tell()

    def answer(self, question: Callable[[Session | Connection], Answer]) -> Answer:
        """What a question comes to that is one statement, which looks something up by its key."""
        if self.by_key_engine is not None and self.replica is None:
            try:
                with explained(), self.by_key_engine.connect() as connection:
                    return question(connection)
            except DatabaseUnavailable:
                pass  # nobody asked whether the connection still works
        with self.read() as session:
            return question(session)

    def listen(self) -> Listener | None:
        """A connection that hears of what is written; None on SQLite. Raises DatabaseUnavailable."""
        return Listener(self.engine) if self.is_postgresql else None

    def upgrade(self) -> None:
        """Bring the tables to the newest form. Many may call this at once: one works, the others wait."""
        levels.upgrade(self.url)

    def check(self) -> None:
        """Raise DatabaseUnavailable unless the database answers and its tables have the newest form."""
        with explained(), self.engine.connect() as connection:
            levels.check(connection)

    def close(self) -> None:
        """Let the connections go."""
        if self.replica is not None:
            self.replica.close()
        self.engine.dispose()
        if self.by_key_engine is not None:
            self.by_key_engine.dispose()
