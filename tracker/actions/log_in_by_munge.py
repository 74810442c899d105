"""Log in by MUNGE: a credential becomes a token that is good for a while (docs/security.md)."""

from __future__ import annotations

import hashlib
import os
import pwd
from datetime import datetime, timedelta

from tracker.credentials import Claim, server_name
from tracker.errors import BadInput, Forbidden, Unauthenticated
from tracker.settings import Settings
from tracker.slurm import munge
from tracker.store import accounts, spent_credentials, tokens
from tracker.store.database import Database, Session
from tracker.store.identity import Identity

LIFETIME = timedelta(minutes=30)
_FRESH_FOR = timedelta(minutes=5)
"""MUNGE's own default. Clocks may differ by as much."""
_SPENT_FOR = 2 * _FRESH_FOR
"""A credential whose clock is ahead is good for so long."""


def log_in(
    db: Database, settings: Settings, credential: str, *, for_agent: bool, now: datetime
) -> tuple[str, Identity]:  # fmt: skip
    """A token for whose process made the credential, and who that is; one `for_agent` only delivers.

    Raises Unauthenticated when the credential is not valid, not for this server, or was used before; Forbidden for a
    user who may not come in; Unavailable when MUNGE does not answer.
    """
    vouched = munge.decode(credential, settings.munge_socket)
    claim = Claim.read(vouched.payload)
    if claim is None:
        raise Unauthenticated("This MUNGE credential was made for something else.")
    names = _own_names(settings)
    if claim.server not in names:
        raise Unauthenticated(
            f"This MUNGE credential is for {claim.server[:200]}, and this server is {names[0]}: set TRACKER_URL to its "
            "address, or name the other one in its setting `other_urls`."
        )
    if abs(now - vouched.encoded_at) > _FRESH_FOR:
        raise Unauthenticated("This MUNGE credential is more than five minutes old, or its clock is ahead of ours.")
    with db.write() as session:
        if not spent_credentials.spend(session, _spent_as(vouched.uid, claim), now, now + _SPENT_FOR):
            raise Unauthenticated("This MUNGE credential was used before.")
        identity = _identity(session, settings, vouched.uid, for_agent)
        scopes = ["ingest"] if for_agent else None
        secret = tokens.create(
            session, identity.user, identity.role, tokens.ACCESS, LIFETIME, scopes=scopes, name="munge"
        )
        return secret, identity


def _identity(session: Session, settings: Settings, uid: int, for_agent: bool) -> Identity:
    try:
        user = pwd.getpwuid(uid).pw_name
    except KeyError:
        raise Forbidden(f"The server's machine knows no user with the uid {uid}.") from None
    known = accounts.who(session, user, settings.admins.split())
    if known is None:
        raise Forbidden(f"{user} may not log in here.")
    if uid == 0 or user in settings.slurm_users.split():
        return Identity(user, "node" if for_agent or uid else "admin")
    return known


def _own_names(settings: Settings) -> list[str]:
    """The names of this server, as credentials say them: that of its address first."""
    hosts = [f"[{settings.listen}]" if ":" in settings.listen else settings.listen]
    if settings.listen in ("0.0.0.0", "::"):
        host = os.uname().nodename
        hosts = ["127.0.0.1", "localhost", host, host.partition(".")[0]]
    elif settings.listen.startswith("unix:"):
        hosts = []
    urls = [settings.url, *settings.other_urls.split(), *(f"http://{host}:{settings.port}" for host in hosts)]
    try:
        names = [server_name(url) for url in urls if url]
    except ValueError as problem:
        raise BadInput(
            f"`url` and `other_urls` are addresses such as https://tracker.example.org: {problem}."
        ) from None
    if not names:
        raise BadInput("The server does not know by which address it is reached: set its `url`.")
    return names


def _spent_as(uid: int, claim: Claim) -> str:
    """By this a credential is known again; its text may be another, for a space at its end does not count."""
    return hashlib.sha256(f"munge {uid} {claim.nonce}".encode()).hexdigest()
