"""Keys: made with the database at hand, kept in TRACKER_HOME for processes of the same home."""

from __future__ import annotations

import getpass
import json
import os
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from tracker.errors import BadInput, DatabaseUnavailable, SetupProblem
from tracker.settings import Settings
from tracker.store import audit, tokens
from tracker.store.database import Database

LOGIN_LIFETIME = timedelta(hours=1)


def new_token(
    settings: Settings, *, for_agent: bool = False, user: str | None = None, days: int | None = None,
    name: str | None = None, scopes: Sequence[str] = (), node: str | None = None,
) -> str:  # fmt: skip
    """Make a token: of an administrator for the caller, who holds the database; of a plain user; or of agents."""
    lifetime = timedelta(days=days) if days else None
    whose = user or ("agent" if for_agent else getpass.getuser())
    role = "node" if for_agent else "user" if user else "admin"
    purpose = tokens.NODE if for_agent else tokens.API
    with database_at_hand(settings).write() as session:
        secret = tokens.create(
            session, whose, role, purpose, lifetime, name=name or node, scopes=scopes or None, node=node
        )
        audit.note(session, getpass.getuser(), "token.create", tokens.id_of(secret), f"{role} {whose}")
    return secret


def login_link(settings: Settings) -> str:
    """A link that logs the caller in, once, within the hour."""
    url = server_url(settings)
    if not url:
        raise BadInput("No server runs on this TRACKER_HOME: start one with `tracker up`, or set TRACKER_URL.")
    with database_at_hand(settings).write() as session:
        secret = tokens.create(session, getpass.getuser(), "admin", tokens.LOGIN, LOGIN_LIFETIME)
        audit.note(session, getpass.getuser(), "link.create")
    return f"{url}/login?token={secret}"


def is_database_at_hand(settings: Settings) -> bool:
    """Whether there is a database to work on, not only a server to ask."""
    return bool(settings.database) or (settings.home_path / "tracker.db").exists()


def database_at_hand(settings: Settings) -> Database:
    """The database of the settings or of TRACKER_HOME. Raises DatabaseUnavailable when there is none."""
    if not is_database_at_hand(settings):
        raise DatabaseUnavailable(f"There is no database in {settings.home_path}: start `tracker up` once.")
    return Database(settings.database_url)


def node_token_file(settings: Settings) -> Path:
    """The file in TRACKER_HOME with the key of its agent, made if there is none that the database knows."""
    return _token_file(settings, "node.token", for_agent=True)


def api_token_file(settings: Settings) -> Path:
    """The file in TRACKER_HOME with which its owner's programs read, made if there is none that the database knows."""
    return _token_file(settings, "api.token", for_agent=False)


def _token_file(settings: Settings, name: str, *, for_agent: bool) -> Path:
    path = settings.home_path / "keys" / name
    with database_at_hand(settings).read() as session:
        known = path.exists() and tokens.identify(session, path.read_text().strip())
    if not known:
        write_private(path, new_token(settings, for_agent=for_agent) + "\n")
    return path


def write_private(path: Path, content: str) -> None:
    """Write a file that only its owner may read, whole or not at all. Raises SetupProblem when that cannot be."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(content)
        temporary.replace(path)
    except OSError as problem:
        temporary.unlink(missing_ok=True)
        raise SetupProblem(f"{path} cannot be written: {problem.strerror}.") from None


def server_url(settings: Settings) -> str:
    """The address of the server: as set, or of the one that runs on this TRACKER_HOME; empty when there is none."""
    if settings.url:
        return settings.url.rstrip("/")
    try:
        return str(json.loads((settings.home_path / "server.json").read_text())["url"])
    except (OSError, ValueError, KeyError):
        return ""
