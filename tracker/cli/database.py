"""`tracker db`: what an administrator does with the database.

Exit codes: 0 done; 1 it could not be done, or a check found something; 2 the command line is wrong.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

import click

from tracker.cli.progress import Progress, size_of

_DATABASE = click.option(
    "--database", metavar="URL", help="SQLite or PostgreSQL; the one in the settings or in TRACKER_HOME if not given."
)
_AS_JSON = click.option("--json", "as_json", is_flag=True, help="For programs.")


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


@db.command()
@_DATABASE
@_AS_JSON
def check(database: str | None, as_json: bool) -> None:
    """Look whether the database is whole; ends with 1 when it is not.

    Its level, its file (SQLite), rows that belong to no run, points that cannot be read, copies of artifacts that are
    gone. It only reads, and may run beside the server.

    \b
    tracker db check
    tracker db check --json | jq '.[] | select(.problem_count > 0)'
    """
    from tracker import settings
    from tracker.store import integrity
    from tracker.store.database import Database

    told = settings.load(database=database)
    found = []
    with Progress() as progress:
        for one in integrity.check(Database(told.database_url), told.artifacts_path, progress.count):
            found.append(one)
            progress.clear()
            if not as_json:
                click.echo(f"{one.check:<10} {one.looked_at:>10,}  {'ok' if not one.problem_count else 'NOT WHOLE'}")
                for problem in one.problems:
                    click.echo(f"  {problem}")
                if one.problem_count > len(one.problems):
                    click.echo(f"  and more: {one.problem_count} in all")
    if as_json:
        click.echo(json.dumps([asdict(one) for one in found]))
    sys.exit(1 if any(one.problem_count for one in found) else 0)


@db.command()
@click.argument("file", type=click.Path(path_type=Path))
@_DATABASE
@_AS_JSON
def backup(file: Path, database: str | None, as_json: bool) -> None:
    """Copy the database, as it is at one moment, into FILE, which must not be there yet.

    Servers go on meanwhile. SQLite's copy is a database itself; PostgreSQL's is a dump by pg_dump in its custom format.
    Copies of artifacts are not in it.

    \b
    tracker db backup /backup/tracker-$(date +%F).backup
    """
    from tracker.store import backups

    with Progress() as progress:
        level = backups.backup(_url(database), file, progress.bytes)
    size_bytes = file.stat().st_size
    if as_json:
        click.echo(json.dumps({"file": str(file), "size_bytes": size_bytes, "level": level}))
    else:
        click.echo(f"{file} has the database at {level}, {size_of(size_bytes)}.")


@db.command()
@click.argument("file", type=click.Path(path_type=Path))
@_DATABASE
@_AS_JSON
def restore(file: Path, database: str | None, as_json: bool) -> None:
    """Fill an empty database from FILE, which `tracker db backup` made. One that is not empty is refused.

    Stop the servers first, and start them on the restored database: they bring it to their form. Agents send again
    what came after the backup, as far as their spools still have it.

    \b
    createdb tracker2
    tracker db restore /backup/tracker-2026-01-31.backup --database postgresql:///tracker2
    """
    from tracker.store import backups

    with Progress() as progress:
        level = backups.restore(_url(database), file, progress.bytes)
    click.echo(json.dumps({"level": level}) if as_json else f"The database is restored, at {level}.")


@db.command()
@click.option("--dry-run", is_flag=True, help="Tell what would be done, and do nothing.")
@_DATABASE
@_AS_JSON
def prune(dry_run: bool, database: str | None, as_json: bool) -> None:
    """Remove deleted runs for good, and thin and drop points whose time has come.

    When that is, the settings and `tracker db retention` say. Summaries stay. It works in small steps beside the
    server, and can be broken off at any time. Let a timer run it once a day.

    \b
    tracker db prune --dry-run
    """
    from datetime import datetime, timezone

    from tracker import settings
    from tracker.actions import prune as action
    from tracker.store.database import Database

    told = settings.load(database=database)
    with Progress() as progress:
        now = datetime.now(timezone.utc)
        done = action.prune(Database(told.database_url), told, now, dry_run=dry_run, report=progress.count)
    if as_json:
        click.echo(json.dumps({"dry_run": dry_run, **asdict(done)}))
        return
    click.echo(
        f"{'Would be purged' if dry_run else 'Purged'}: {done.purged_runs:,} runs; thinned: {done.thinned_runs:,}; "
        f"points dropped: {done.dropped_runs:,}. They had {done.points:,} points in all. "
        f"Entries of the audit log: {done.audit_entries:,}."
    )


@db.command()
@click.argument("experiment", required=False)
@click.option("--thin-after", metavar="DAYS", type=int, help="From a run's end until it is thinned.")
@click.option("--drop-after", metavar="DAYS", type=int, help="From a run's end until points are dropped.")
@_DATABASE
@_AS_JSON
def retention(
    experiment: str | None, thin_after: int | None, drop_after: int | None, database: str | None, as_json: bool
) -> None:
    """Show how long points are kept, or say it for one EXPERIMENT; 0 days: for ever; not given: as in the settings.

    \b
    tracker db retention
    tracker db retention sweep --thin-after 30 --drop-after 365
    tracker db retention paper --thin-after 0 --drop-after 0
    tracker db retention paper              as in the settings again
    """
    from tracker import settings
    from tracker.cli.reading import print_table
    from tracker.store import retention as kept
    from tracker.store.database import Database

    told = settings.load(database=database)
    store = Database(told.database_url)
    if experiment is not None:
        with store.write() as session:
            kept.set_rule(session, kept.Rule(experiment, thin_after, drop_after))
    elif thin_after is not None or drop_after is not None:
        raise click.UsageError("Name the experiment; those of all others are settings in tracker.toml.")
    with store.read() as session:
        own = kept.rules(session)
    default = kept.Rule("", told.thin_points_after_days, told.drop_points_after_days)
    if as_json:
        click.echo(json.dumps({"default": asdict(default), "experiments": [asdict(rule) for rule in own]}))
        return
    shown = [
        [rule.experiment or "all others", _days(rule.thin_points_after_days), _days(rule.drop_points_after_days)]
        for rule in (*own, default)
    ]
    print_table(["EXPERIMENT", "THIN AFTER", "DROP AFTER"], shown)


def _days(count: int | None) -> str:
    return "as others" if count is None else f"{count} days" if count else "never"
