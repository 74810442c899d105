"""The form of the tables: its level in a database, and the way up and down, which one process at a time goes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from tracker.errors import BadInput, DatabaseUnavailable
from tracker.store.engine import explained, make_upkeep_engine

MIGRATIONS = Path(__file__).parent / "migrations"
PATIENCE_S = 600
"""How long one waits for another that changes the tables of the same SQLite file."""
EMPTY = "base"
"""The level of a database without our tables."""
OLDEST = {"postgresql": (13,), "sqlite": (3, 35)}
"""The oldest versions of each database that know all that our statements say."""
_LOCK = 0x7472616B  # any number that only we use in this database


@lru_cache
def all_levels() -> tuple[str, ...]:
    """The levels that this tracker knows, the oldest first."""
    scripts = ScriptDirectory.from_config(_alembic())
    return tuple(reversed([script.revision for script in scripts.walk_revisions()]))


def level(connection: Connection) -> str:
    """The level of a database, EMPTY if it has no tables of ours."""
    return MigrationContext.configure(connection).get_current_revision() or EMPTY


def check(connection: Connection) -> None:
    """Raise DatabaseUnavailable unless the database has the newest level that we know."""
    current = level(connection)
    _refuse_unknown(current)
    if current != all_levels()[-1]:
        raise DatabaseUnavailable(f"The database is at {current}, not at {all_levels()[-1]}: run `tracker db upgrade`.")


def upgrade(url: str, to: str = "head") -> None:
    """Bring a database to a level, the newest by default. Many may call this at once: one works, the others wait.

    Raises DatabaseUnavailable when the database does not answer, is too old, or belongs to a newer tracker.
    """
    with _alone(url) as connection:
        _refuse_unknown(level(connection))
        command.upgrade(_alembic(connection), to)


def downgrade(url: str, to: str) -> None:
    """Bring a database back to an older level, so that an older tracker can go on with it; EMPTY removes all tables.

    What the older form has no place for is lost. Raises BadInput for a level that is none or lies above.
    """
    with _alone(url) as connection:
        current = level(connection)
        _refuse_unknown(current)
        known = (EMPTY, *all_levels())
        if to not in known or known.index(to) > known.index(current):
            below = ", ".join(known[: known.index(current) + 1])
            raise BadInput(f"The database is at {current} and cannot go down to `{to}`; it can to {below}.")
        command.downgrade(_alembic(connection), to)


@contextmanager
def _alone(url: str) -> Iterator[Connection]:
    """A connection whose changes are made as a whole or not at all, while nobody else changes the tables."""
    engine = make_upkeep_engine(url, PATIENCE_S).execution_options(tracker_write=True)
    try:
        with explained(), engine.begin() as connection:
            _refuse_old(connection)
            if connection.dialect.name == "postgresql":
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
            yield connection
    finally:
        engine.dispose()


def _refuse_old(connection: Connection) -> None:
    name, told = connection.dialect.name, connection.dialect.server_version_info or ()
    if told < OLDEST[name]:
        kind = {"postgresql": "PostgreSQL", "sqlite": "SQLite"}[name]
        version, oldest = (".".join(map(str, one)) for one in (told, OLDEST[name]))
        raise DatabaseUnavailable(f"This {kind} is {version}; tracker needs {oldest} or newer.")


def _refuse_unknown(current: str) -> None:
    if current != EMPTY and current not in all_levels():
        raise DatabaseUnavailable(
            f"The database is at {current} and belongs to a newer tracker (this one knows {all_levels()[-1]}): "
            "start the newer one, or let it bring the database back with `tracker db downgrade`."
        )


def _alembic(connection: Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    return config
