"""Backups: a copy of one moment of the database in one file, taken while it is written, and the way back."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from sqlalchemy import Connection, inspect
from sqlalchemy.engine import URL, make_url

from tracker.errors import BadInput, Conflict, SetupProblem
from tracker.store import dumps, levels
from tracker.store.engine import explained, make_upkeep_engine

Report = Callable[[int, int | None], None]
"""Told how many bytes are done, and of how many if that is known."""
_PAGES_A_STEP = 4096
_PATIENCE_S = 600
_SQLITE_MAGIC, _DUMP_MAGIC = b"SQLite format 3\0", b"PGDMP"


def backup(url: str, path: Path, report: Report) -> str:
    """Copy the database as it is at one moment into a new file, for its owner alone; the answer is its level.

    Others read and write on meanwhile. The file is there when it is whole. Raises Conflict when there is one already,
    SetupProblem when it cannot be written, DatabaseUnavailable when the database does not answer.
    """
    if path.exists():
        raise Conflict(f"{path} is there already: name another file.")
    engine = make_upkeep_engine(url, _PATIENCE_S)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        os.close(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        with explained(), engine.connect() as connection:
            level = levels.level(connection)
            if level == levels.EMPTY:
                raise Conflict("The database is empty: there is nothing to copy.")
            if engine.name == "postgresql":
                dumps.dump(connection, make_url(url), partial, report)
            else:
                _copy_sqlite(connection, partial, report)
        _settle(partial, path)
    except (OSError, sqlite3.Error) as problem:
        raise SetupProblem(f"{path} cannot be written: {getattr(problem, 'strerror', None) or problem}.") from None
    finally:
        partial.unlink(missing_ok=True)
        engine.dispose()
    return level


def _copy_sqlite(connection: Connection, path: Path, report: Report) -> None:
    source = connection.connection.driver_connection
    assert isinstance(source, sqlite3.Connection)
    # The connection has begun to read: as long as it does, each step copies pages of that same moment. Without, every
    # change that another process makes would begin the copy anew.
    (page_bytes,) = source.execute("PRAGMA page_size").fetchone()
    with closing(sqlite3.connect(path)) as target:
        source.backup(
            target,
            pages=_PAGES_A_STEP,
            progress=lambda _, left, total: report((total - left) * page_bytes, total * page_bytes),
            sleep=0,
        )
        target.execute("PRAGMA journal_mode=DELETE")  # so that it is one file


def _settle(partial: Path, path: Path) -> None:
    """Let the file be on disk, and then under its name unless another has it by now."""
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    try:
        os.link(partial, path)
    except FileExistsError:
        raise Conflict(f"{path} is there already: name another file.") from None


def restore(url: str, path: Path, report: Report) -> str:
    """Fill an empty database from a backup; the answer is its level.

    Raises Conflict unless the database is empty, BadInput when the file is no backup for it, SetupProblem when it
    cannot be read.
    """
    try:
        with path.open("rb") as file:
            magic = file.read(len(_SQLITE_MAGIC))
    except OSError as problem:
        raise SetupProblem(f"{path} cannot be read: {problem.strerror}.") from None
    engine = make_upkeep_engine(url, _PATIENCE_S)
    wanted = {"postgresql": _DUMP_MAGIC, "sqlite": _SQLITE_MAGIC}[engine.name]
    if not magic.startswith(wanted):
        raise BadInput(f"{path} is no backup of a database of this kind ({engine.name}).")
    try:
        with explained(), engine.connect() as connection:
            _must_be_empty(connection)
        if engine.name == "postgresql":
            dumps.load(make_url(url), path, report)
        else:
            _fill_sqlite(make_url(url), path, report)
        with explained(), engine.connect() as connection:
            return levels.level(connection)
    finally:
        engine.dispose()


def _must_be_empty(connection: Connection) -> None:
    there = inspect(connection).get_table_names()
    if there:
        raise Conflict(
            f"The database is not empty (it has {len(there)} tables): restore into an empty one, then let the server "
            "use that."
        )


def _fill_sqlite(url: URL, path: Path, report: Report) -> None:
    try:
        with closing(sqlite3.connect(f"file:{_quoted(path)}?mode=ro", uri=True)) as source:
            source.execute("BEGIN")  # so that a file that is still written comes as it is at one moment, too
            (found,) = source.execute("PRAGMA quick_check(1)").fetchone()
            known = source.execute("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'").fetchone()
            if found != "ok" or not known:
                raise BadInput(
                    f"{path} is no whole backup of a tracker: {found if known else 'it has no tables of it'}."
                )
            size_bytes = path.stat().st_size
            with closing(sqlite3.connect(url.database or "", timeout=_PATIENCE_S)) as target:
                source.backup(target, pages=-1)  # in one step: a server that looks on sees nothing, or all of it
                target.execute("PRAGMA journal_mode=WAL")
            report(size_bytes, size_bytes)
    except sqlite3.Error as problem:
        raise BadInput(f"{path} cannot be restored: {problem}.") from None


def _quoted(path: Path) -> str:
    return str(path.absolute()).replace("%", "%25").replace("?", "%3f").replace("#", "%23")
