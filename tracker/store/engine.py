"""How a connection to SQLite or PostgreSQL is made, and how their faults are told."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import (
    ArgumentError,
    DatabaseError,
    DBAPIError,
    DisconnectionError,
    InterfaceError,
    InternalError,
    OperationalError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import NullPool

from tracker.errors import BadInput, DatabaseUnavailable
from tracker.store import planned

BUSY_TIMEOUT_S = 30
_KEPT_CONNECTIONS = 10
"""As many as the threads of a web process use at once: to make one anew costs PostgreSQL as much as some requests."""
_WORKS_FOR_S = 1.0
_PATIENCE_WITH_POSTGRESQL = {  # with a machine that is gone; without these a request would wait for it for hours
    "connect_timeout": 10,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
}


def make_engine(url: str, *, asks_always: bool = False) -> Engine:
    """Connections for requests. Raises BadInput when the URL is none, DatabaseUnavailable when there can be no file.

    One of PostgreSQL that was not used for a while is asked whether it still works; with `asks_always` each is.
    """
    parsed, kind = _understood(url)
    if kind == "postgresql":
        engine = create_engine(
            parsed, pool_pre_ping=asks_always, pool_size=_KEPT_CONNECTIONS, connect_args=_PATIENCE_WITH_POSTGRESQL
        )
        return _postgresql(engine if asks_always else _asked_after_a_while(engine))
    return _sqlite(create_engine(parsed, connect_args={"timeout": BUSY_TIMEOUT_S}), BUSY_TIMEOUT_S, foreign_keys=True)


def _asked_after_a_while(engine: Engine) -> Engine:
    """To ask each time would be one more way to the database and back for each transaction."""

    def note(_connection: Any, record: Any) -> None:
        record.info["tracker_used_s"] = time.monotonic()

    def ask(connection: Any, record: Any, _proxy: Any) -> None:
        if time.monotonic() - record.info["tracker_used_s"] > _WORKS_FOR_S:
            try:
                engine.dialect.do_ping(connection)
            except engine.dialect.loaded_dbapi.Error as problem:
                raise DisconnectionError(str(problem)) from problem  # the pool makes another one

    event.listen(engine, "connect", note)
    event.listen(engine, "checkin", note)
    event.listen(engine, "checkout", ask)
    return engine


def make_by_key_engine(url: str) -> Engine:
    """Connections of PostgreSQL on which each statement is stored by itself (see store/planned.py).

    They are not asked whether they still work: who uses them has another way to go.
    """
    parsed, _ = _understood(url)
    engine = create_engine(parsed, isolation_level="AUTOCOMMIT", pool_size=3, connect_args=_PATIENCE_WITH_POSTGRESQL)
    planned.install(engine)
    return engine


def make_upkeep_engine(url: str, patience_s: int) -> Engine:
    """Connections for work on the tables themselves, which waits `patience_s` for its turn on SQLite.

    SQLite makes a table anew to change it, which with foreign keys in force would empty those that refer to it.
    """
    parsed, kind = _understood(url)
    if kind == "postgresql":
        return create_engine(parsed, poolclass=NullPool, connect_args=_PATIENCE_WITH_POSTGRESQL)
    engine = create_engine(parsed, poolclass=NullPool, connect_args={"timeout": patience_s})
    return _sqlite(engine, patience_s, foreign_keys=False)


def _understood(url: str) -> tuple[Any, str]:
    try:
        parsed = make_url(url)
        kind = parsed.get_dialect().name
    except ArgumentError:
        raise BadInput(f"`{url}` is no database URL; one looks like postgresql://user@host/name.") from None
    if kind == "postgresql":
        return parsed.set(drivername="postgresql+psycopg2"), kind
    if kind != "sqlite":
        raise BadInput(f"tracker keeps its data in SQLite or PostgreSQL, not in {kind}.")
    if not parsed.database or parsed.database == ":memory:":
        raise BadInput("SQLite needs a file that all processes share: sqlite:////path/to/tracker.db.")
    _make_private(Path(parsed.database))
    return parsed, kind


def _make_private(path: Path) -> None:
    """Make the file, if there is none, so that only its owner can read it; SQLite gives its journals the same mode."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as problem:
        raise DatabaseUnavailable(f"The database {path} cannot be written: {problem.strerror}.") from None


def _postgresql(engine: Engine) -> Engine:
    def prepare(connection: Any, _record: Any) -> None:
        # It takes a look at each run for expensive and compiles it, 0.1 to 0.7 s, to find a page in 1 ms.
        with connection.cursor() as cursor:
            cursor.execute("SET jit = off")
        connection.commit()

    event.listen(engine, "connect", prepare)
    return engine


def _sqlite(engine: Engine, patience_s: int, *, foreign_keys: bool) -> Engine:
    pragmas = (
        "journal_mode=WAL",
        "synchronous=NORMAL",
        f"foreign_keys={'ON' if foreign_keys else 'OFF'}",
        f"busy_timeout={patience_s * 1000}",
        "case_sensitive_like=ON",  # as in PostgreSQL
    )

    def prepare(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # we begin transactions ourselves: Python's module begins them too late
        for pragma in pragmas:
            connection.execute(f"PRAGMA {pragma}")

    event.listen(engine, "connect", prepare)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _begin_sqlite(connection: Connection) -> None:
    # A writer takes the lock at once: one that upgrades a read lock later fails instead of waiting.
    writes = connection.get_execution_options().get("tracker_write")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def is_outage(problem: BaseException) -> bool:
    """Whether the database itself is at fault (away, locked, full) or a connection, not a statement of ours."""
    if not isinstance(problem, DBAPIError):
        return False
    of_database = isinstance(problem, (OperationalError, InterfaceError, InternalError))
    # A file that is no database is told by the plain DatabaseError.
    return of_database or type(problem) is DatabaseError or problem.connection_invalidated


@contextmanager
def explained() -> Iterator[None]:
    """Tell faults of the database itself in one sentence; faults of our statements stay as they are."""
    try:
        yield
    except PoolTimeout as problem:
        raise DatabaseUnavailable("The database does not work now: all connections to it are in use.") from problem
    except DBAPIError as problem:
        if not is_outage(problem):
            raise
        said = str(problem.orig).strip().splitlines()[0] if str(problem.orig).strip() else "no answer"
        raise DatabaseUnavailable(f"The database does not work now: {said}.") from problem
