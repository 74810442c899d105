"""The connection to the database: SQLite in WAL mode, or PostgreSQL."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DatabaseError, DBAPIError, InterfaceError, InternalError, OperationalError
from sqlalchemy.orm import Session

from tracker.errors import BadInput, DatabaseUnavailable

__all__ = ["Database", "Session", "is_outage"]

MIGRATIONS = Path(__file__).parent / "migrations"
BUSY_TIMEOUT_S = 30
_PATIENCE_WITH_POSTGRESQL = {  # with a machine that is gone; without these a request would wait for it for hours
    "connect_timeout": 10,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
}
_MIGRATION_LOCK = 0x7472616B  # any number that only we use in this database


class Database:
    """One database. Raises BadInput when the URL is none, DatabaseUnavailable when the database does not answer."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.engine = _engine(url)
        self._one_writer = threading.Lock()
        self._writing = self.engine.execution_options(tracker_write=True)
        # PostgreSQL would show each statement of a reader another moment.
        at_one_moment = {"isolation_level": "REPEATABLE READ"} if self.engine.name == "postgresql" else {}
        self._reading = self.engine.execution_options(**at_one_moment)

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A session that sees one moment of the database."""
        with _explained(), Session(self._reading, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A session whose changes are stored together at the end, or not at all."""
        with self._turn(), _explained(), Session(self._writing, expire_on_commit=False) as session, session.begin():
            yield session

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Wait to be the one who writes: SQLite has one at a time, and by its own way to wait some come never."""
        if self.engine.name != "sqlite":
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
        with _explained(), self._writing.begin() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
            command.upgrade(_alembic(connection), "head")

    def check(self) -> None:
        """Raise DatabaseUnavailable unless the database answers and its tables have the newest form."""
        with _explained(), self.engine.connect() as connection:
            current = MigrationContext.configure(connection).get_current_revision()
        newest = ScriptDirectory.from_config(_alembic()).get_current_head()
        if current != newest:
            raise DatabaseUnavailable(f"The database is at {current}, not at {newest}: run `tracker db upgrade`.")

    def close(self) -> None:
        """Let the connections go."""
        self.engine.dispose()


def _engine(url: str) -> Engine:
    try:
        parsed = make_url(url)
        kind = parsed.get_dialect().name
    except ArgumentError:
        raise BadInput(f"`{url}` is no database URL; one looks like postgresql://user@host/name.") from None
    if kind == "sqlite":
        if not parsed.database or parsed.database == ":memory:":
            raise BadInput("SQLite needs a file that all processes share: sqlite:////path/to/tracker.db.")
        _make_private(Path(parsed.database))
        engine = create_engine(parsed, connect_args={"timeout": BUSY_TIMEOUT_S})
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    if kind == "postgresql":
        return create_engine(
            parsed.set(drivername="postgresql+psycopg2"), pool_pre_ping=True, connect_args=_PATIENCE_WITH_POSTGRESQL
        )
    raise BadInput(f"tracker keeps its data in SQLite or PostgreSQL, not in {kind}.")


def _make_private(path: Path) -> None:
    """Make the file, if there is none, so that only its owner can read it; SQLite gives its journals the same mode."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as problem:
        raise DatabaseUnavailable(f"The database {path} cannot be written: {problem.strerror}.") from None


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # we begin transactions ourselves: Python's module begins them too late
    for pragma in (
        "journal_mode=WAL",
        "synchronous=NORMAL",
        "foreign_keys=ON",
        f"busy_timeout={BUSY_TIMEOUT_S * 1000}",
        "case_sensitive_like=ON",  # as in PostgreSQL
    ):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    # A writer takes the lock at once: one that upgrades a read lock later fails instead of waiting.
    writes = connection.get_execution_options().get("tracker_write")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _alembic(connection: Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    return config


def is_outage(problem: BaseException) -> bool:
    """Whether the database itself is at fault (away, locked, full), not a statement of ours."""
    # A file that is no database is told by the plain DatabaseError.
    return isinstance(problem, (OperationalError, InterfaceError, InternalError)) or type(problem) is DatabaseError


@contextmanager
def _explained() -> Iterator[None]:
    """Tell faults of the database itself in one sentence; faults of our statements stay as they are."""
    try:
        yield
    except DBAPIError as problem:
        if not is_outage(problem):
            raise
        said = str(problem.orig).strip().splitlines()[0] if str(problem.orig).strip() else "no answer"
        raise DatabaseUnavailable(f"The database does not work now: {said}.") from problem
