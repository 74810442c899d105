"""Log in with a name and a password: in a browser, and by a program."""

from __future__ import annotations

from tracker.store import accounts
from tracker.store.identity import Identity
from web import audit
from web.auth.attempts import require_patience
from web.auth.ways import ways
from web.context import primary, settings


def who(user: str, password: str) -> tuple[Identity, str] | None:
    """Who this is, and the way by which that is known; None if nobody may come in with it.

    Raises TooManyRequests for who has tried too often, Unavailable while nobody can tell.
    """
    require_patience(user)
    found = ways().user_of(primary(), user, password)
    if found is not None:
        name, way = found
        with primary().read() as session:
            identity = accounts.who(session, name, settings().admins.split())
        if identity is not None:
            return identity, way
    named = user if accounts.is_user_name(user) else "no name"  # people type passwords into the wrong field
    audit.note_refusal("login.refused", named, "password")
    return None
