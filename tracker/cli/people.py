"""`tracker user` and `tracker audit`: who may come in, and who did what. They work on the database."""

from __future__ import annotations

import getpass
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from tracker.store.database import Database, Session

_DATABASE = click.option("--database", metavar="URL", help="The server's database, if it is not in TRACKER_HOME.")
_AS_JSON = click.option("--json", "as_json", is_flag=True, help="For programs.")
_ROLE = click.Choice(["user", "admin"])
_FROM_STDIN = click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")


def _database(database: str | None) -> Database:
    from tracker import settings
    from tracker.cli.keys import database_at_hand

    return database_at_hand(settings.load(database=database))


@contextmanager
def _noted(database: str | None, action: str, user: str, detail: str = "") -> Iterator[Session]:
    """A session for a change that is written into the audit log."""
    from tracker.store import audit

    with _database(database).write() as session:
        yield session
        audit.note(session, getpass.getuser(), action, user, detail)


def _new_password(from_stdin: bool) -> str:
    """The hash of a password that was typed twice, or read."""
    from tracker.actions.check_password import hashed

    if from_stdin:
        return hashed(sys.stdin.readline(2000).rstrip("\r\n"))
    return hashed(click.prompt("Password", hide_input=True, confirmation_prompt=True))


@click.group()
def user() -> None:
    """Accounts of this server: passwords and roles, and who may not come in, however they log in."""


@user.command()
@click.argument("name")
@click.option("--role", type=_ROLE, default="user", show_default=True, help="What they may do.")
@click.option("--no-password", is_flag=True, help="They log in by other ways.")
@_FROM_STDIN
@_DATABASE
def add(name: str, role: str, no_password: bool, password_stdin: bool, database: str | None) -> None:
    """Make an account. It is called as the user of the cluster, whose runs it sees.

    \b
    tracker user add alice
    tracker user add carol --role admin --no-password     # an administrator who logs in by LDAP, say
    """
    from tracker.store import accounts

    kept = None if no_password else _new_password(password_stdin)
    with _noted(database, "user.add", name, role) as session:
        accounts.add(session, name, role, kept, datetime.now(timezone.utc))
    click.echo(f"There is an account {name} now.")


@user.command("ls")
@_AS_JSON
@_DATABASE
def list_users(as_json: bool, database: str | None) -> None:
    """List accounts."""
    from tracker.cli.reading import print_table
    from tracker.store import accounts

    with _database(database).read() as session:
        found = accounts.all_of_them(session)
    told = [
        {
            "user": one.user, "role": one.role, "password": one.password_hash is not None,
            "created_at": one.created_at.isoformat(),
            "disabled_at": one.disabled_at.isoformat() if one.disabled_at else None,
        }
        for one in found
    ]  # fmt: skip
    if as_json:
        click.echo(json.dumps(told))
        return
    rows = ([one["user"], one["role"], "yes" if one["password"] else "no", one["disabled_at"] or ""] for one in told)
    print_table(["USER", "ROLE", "PASSWORD", "DISABLED"], rows)


@user.command()
@click.argument("name")
@_FROM_STDIN
@_DATABASE
def password(name: str, password_stdin: bool, database: str | None) -> None:
    """Give an account another password. Who is logged in is so no more; tokens of programs stay."""
    from tracker.store import accounts

    kept = _new_password(password_stdin)
    with _noted(database, "user.password", name) as session:
        accounts.set_password(session, name, kept)
    click.echo(f"{name} has another password now.")


@user.command()
@click.argument("name")
@click.argument("role", type=_ROLE)
@_DATABASE
def role(name: str, role: str, database: str | None) -> None:
    """Give an account, its sessions and its tokens another role."""
    from tracker.store import accounts

    with _noted(database, "user.role", name, role) as session:
        accounts.set_role(session, name, role)
    click.echo(f"{name} has the role {role} now.")


@user.command()
@click.argument("name")
@_DATABASE
def disable(name: str, database: str | None) -> None:
    """Let nobody in as this user any more, however they log in. Their sessions end, their tokens are worthless."""
    from tracker.store import accounts

    with _noted(database, "user.disable", name) as session:
        accounts.disable(session, name, datetime.now(timezone.utc))
    click.echo(f"{name} may not come in any more.")


@user.command()
@click.argument("name")
@_DATABASE
def enable(name: str, database: str | None) -> None:
    """Let a user in again who was disabled."""
    from tracker.store import accounts

    with _noted(database, "user.enable", name) as session:
        accounts.enable(session, name)
    click.echo(f"{name} may come in again.")


@click.command()
@click.option("--actor", metavar="NAME", help="Who did it.")
@click.option("--action", metavar="WORD", help="What was done, or the beginning of it, such as `token.`.")
@click.option("-n", "--limit", type=click.IntRange(1, 100_000), default=50, show_default=True, help="How many.")
@_AS_JSON
@_DATABASE
def audit(actor: str | None, action: str | None, limit: int, as_json: bool, database: str | None) -> None:
    """Tell who changed rights, deleted something or was refused, newest first.

    \b
    tracker audit --action login.refused
    tracker audit --actor bob --json
    """
    from tracker.cli.reading import print_table
    from tracker.store import audit as store

    with _database(database).read() as session:
        found = store.find(session, actor=actor, action=action, limit=limit).items
    words = ("actor", "address", "action", "target", "detail")
    if as_json:
        click.echo(json.dumps([{"at": one.at.isoformat(), **_facts(one, words)} for one in found]))
        return
    rows = ([f"{one.at:%Y-%m-%d %H:%M:%S}", *_facts(one, words).values()] for one in found)
    print_table(["AT (UTC)", "WHO", "FROM", "DID", "TO", "DETAIL"], rows)


def _facts(entry: object, words: tuple[str, ...]) -> dict[str, str]:
    return {word: getattr(entry, word) for word in words}
