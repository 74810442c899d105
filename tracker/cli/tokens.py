"""`tracker token` and `tracker login`: with the database where it is at hand, else by asking the server."""

from __future__ import annotations

import getpass
import json
import os
import re
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from tracker.settings import Settings

_DATABASE = click.option("--database", metavar="URL", help="The server's database, if it is not in TRACKER_HOME.")
_SCOPES = click.Choice(["read", "write", "ingest", "admin"])


def _settings(database: str | None) -> Settings:
    from tracker import settings

    return settings.load(database=database)


def _asks_server(told: Settings) -> bool:
    """Whether there is no database at hand, but a server."""
    from tracker.cli.keys import is_database_at_hand

    return bool(os.environ.get("TRACKER_URL")) and not is_database_at_hand(told)


@click.command()
@_DATABASE
def login(database: str | None) -> None:
    """Print a link that opens the page, logged in, once.

    Where the database is not at hand the server of TRACKER_URL is asked, with TRACKER_TOKEN.
    """
    from tracker.cli.keys import login_link
    from tracker.client.reading import Api

    told = _settings(database)
    click.echo(Api().send("POST", "/tokens:login-link")["url"] if _asks_server(told) else login_link(told))


@click.group()
def token() -> None:
    """Keys to the API: with the database at hand of anybody, else your own by the server of TRACKER_URL."""


@token.command()
@click.option("--agent", is_flag=True, help="A key for agents: it may deliver events of all users, and read nothing.")
@click.option("--node", metavar="CLUSTER:NODE", help="With --agent: it may report for this node alone.")
@click.option("--user", metavar="NAME", help="For another user, without the rights of an administrator.")
@click.option("--name", metavar="TEXT", help="What you call it.")
@click.option("--scope", "scopes", multiple=True, type=_SCOPES, help="What it is for, repeated; all if not given.")
@click.option("--days", type=click.IntRange(1, 3650), help="How long it is good for; for ever if not given.")
@_DATABASE
def create(
    agent: bool,
    node: str | None,
    user: str | None,
    name: str | None,
    scopes: tuple[str, ...],
    days: int | None,
    database: str | None,
) -> None:
    """Print a new token. It is shown this once.

    \b
    tracker token create --name notebook --scope read --days 30
    tracker token create --agent --name "nodes of dev"
    tracker token create --agent --node dev:n1
    """
    from tracker.cli.keys import new_token
    from tracker.client.reading import Api

    if node is not None and not (agent and re.fullmatch(r"[A-Za-z0-9_-]{1,64}:[A-Za-z0-9_.-]{1,255}", node)):
        raise click.UsageError("--node is such as dev:n1, and goes with --agent.")
    told = _settings(database)
    if not _asks_server(told):
        click.echo(new_token(told, for_agent=agent, user=user, days=days, name=name, scopes=scopes, node=node))
        return
    if agent or user:
        raise click.UsageError(
            "Tokens for agents and other users are made where the database is: name it by --database."
        )
    wanted: dict[str, Any] = {"name": name or "made by tracker token create", "days": days}
    click.echo(Api().send("POST", "/tokens", wanted | ({"scopes": list(scopes)} if scopes else {}))["token"])


@token.command("ls")
@click.option("--user", metavar="NAME", help="Of another user.")
@click.option("--all", "everybody", is_flag=True, help="Of all users.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@_DATABASE
def list_tokens(user: str | None, everybody: bool, as_json: bool, database: str | None) -> None:
    """List tokens and sessions, newest first: yours, unless told otherwise."""
    from tracker.cli.reading import print_table
    from tracker.client.reading import Api

    told = _settings(database)
    if _asks_server(told):
        found = Api().get("/tokens", user=user, all="true" if everybody else None)["items"]
    else:
        found = _kept(told, None if everybody else user or getpass.getuser())
    if as_json:
        click.echo(json.dumps(found))
        return
    rows = (
        [*(one[word] for word in ("id", "user", "role", "purpose", "name")), " ".join(one["scopes"]),
         _minute(one["expires_at"]), _minute(one["last_used_at"])]
        for one in found
    )  # fmt: skip
    print_table(["ID", "USER", "ROLE", "FOR", "NAME", "SCOPES", "EXPIRES", "LAST USED"], rows)


def _kept(told: Settings, user: str | None) -> list[dict[str, Any]]:
    from tracker.cli.keys import database_at_hand
    from tracker.store import tokens
    from tracker.store.identity import SCOPES

    with database_at_hand(told).read() as session:
        found = tokens.of_user(session, user)
    same = ("name", "user", "role", "purpose")
    times = ("created_at", "expires_at", "last_used_at")
    return [
        {
            "id": one.hash[:16], **{name: getattr(one, name) for name in same},
            "scopes": list(SCOPES) if one.scopes is None else one.scopes.split(),
            **{name: moment.isoformat() if (moment := getattr(one, name)) else None for name in times},
        }
        for one in found
    ]  # fmt: skip


def _minute(moment: str | None) -> str:
    return moment[:16].replace("T", " ") if moment else "never"


@token.command()
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@_DATABASE
def revoke(ids: tuple[str, ...], database: str | None) -> None:
    """Make tokens worthless, and what came from them. `tracker token ls` tells their ids."""
    from urllib.parse import quote

    from tracker.client.reading import Api

    told = _settings(database)
    for ident in ids:
        if _asks_server(told):
            Api().send("DELETE", f"/tokens/{quote(ident, safe='')}")
        else:
            _revoke(told, ident)
        click.echo(f"Token {ident} is revoked.")


def _revoke(told: Settings, ident: str) -> None:
    from tracker.cli.keys import database_at_hand
    from tracker.store import audit, tokens

    with database_at_hand(told).write() as session:
        one = tokens.get(session, ident)
        tokens.take_back(session, one)
        audit.note(session, getpass.getuser(), "token.revoke", ident, f"{one.purpose} of {one.user}")
