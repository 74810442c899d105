"""`tracker db`: what an administrator does with the database.

Exit codes: 0 done; 1 it could not be done, or a check found something; 2 the command line is wrong.
"""

from __future__ import annotations

import click

_DATABASE = click.option(
    "--database", metavar="URL", help="SQLite or PostgreSQL; the one in the settings or in TRACKER_HOME if not given."
)


def _url(database: str | None) -> str:
    from tracker import settings

    return settings.load(database=database).database_url


@click.group()
def db() -> None:
    """The database: its form, its health, copies of it, and what is kept how long."""


@db.command()
@_DATABASE
def upgrade(database: str | None) -> None:
    """Bring the tables to the newest form. The server does it at its start."""
    from tracker.store import levels

    levels.upgrade(_url(database))
    click.echo(f"The database has the newest form, {levels.all_levels()[-1]}.")


@db.command()
@click.argument("level")
@_DATABASE
def downgrade(level: str, database: str | None) -> None:
    """Bring the tables back to the form of an older tracker, told by its LEVEL.

    Stop the servers, make a backup, run this with the newer tracker, then install the older one. An older tracker says
    itself which level it knows. What the older form has no place for is lost.

    \b
    tracker db downgrade 0006
    """
    from tracker.store import levels

    levels.downgrade(_url(database), level)
    click.echo(f"The database has the form {level}.")
