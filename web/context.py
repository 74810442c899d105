"""What a handler may ask of the request it answers."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import cast

from flask import current_app, g

from tracker.settings import Settings
from tracker.store.database import Database
from tracker.store.identity import Identity
from web import freshness


def db() -> Database:
    """The database of this server, for those who only look also from its replica (see web/freshness.py)."""
    return primary().lagging if freshness.may_lag() else primary()


def primary() -> Database:
    """The database of this server as it is now."""
    return cast(Database, current_app.extensions["tracker.database"])


def settings() -> Settings:
    """The settings of this server."""
    return cast(Settings, current_app.extensions["tracker.settings"])


def viewer() -> Identity:
    """Who is asking. There is always somebody: `web.auth` lets nobody else through."""
    return cast(Identity, g.identity)


def now() -> datetime:
    """The moment of this request, the same wherever it is asked for."""
    if "now" not in g:
        g.now = datetime.now(timezone.utc)
    return cast(datetime, g.now)
