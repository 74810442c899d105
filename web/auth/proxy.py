"""Whom a trusted proxy has let in: Open OnDemand, or Apache with a module of its own for it."""

from __future__ import annotations

import logging
from typing import cast

from flask import Flask, current_app, request

from tracker.errors import BadInput, Unauthenticated
from tracker.settings import Settings
from tracker.store import accounts
from tracker.store.tokens import Shown
from web import peers
from web.auth.ways import ways
from web.context import db, settings

log = logging.getLogger("tracker.auth")

PURPOSE = "proxy"
"""What stands where the purpose of a token would."""


def install(app: Flask, settings: Settings) -> None:
    """Look whether the settings go together. Raises BadInput."""
    header = settings.proxy_user_header
    if "proxy" not in settings.logins.replace(",", " ").split():
        header = ""
    elif not header.replace("-", "").isalnum() or not header.isascii():
        raise BadInput("`proxy_user_header` is such as X-Remote-User: letters, digits and hyphens.")
    elif not settings.trusted_proxies.strip():
        raise BadInput("`logins` has `proxy`: name the proxy in `trusted_proxies`, by its address or as unix.")
    app.extensions["tracker.proxy_header"] = header
    if header and any(one in peers.Trusted.of(settings.trusted_proxies) for one in ("127.0.0.1", "::1")):
        log.warning(
            "trusted_proxies: whoever can log in to this machine can connect from its loopback address and claim to "
            "be anybody; let the proxy come by a Unix socket (listen = unix:/path) unless only administrators can"
        )


def shown() -> Shown | None:
    """Who the proxy says this is, None where no proxy says anything. Raises Unauthenticated for a name that is none.

    The header counts only on the proxy's own connection; two of them, which would come as `a,b`, are no name.
    """
    header = cast(str, current_app.extensions["tracker.proxy_header"])
    name = request.headers.get(header) if header else None
    if not name or "proxy" not in ways().open or not peers.is_trusted_proxy():
        return None
    if not accounts.is_user_name(name):
        raise Unauthenticated("The proxy in front of this server names no user who could be one.")
    identity = db().answer(lambda asked: accounts.who(asked, name, settings().admins.split()))
    if identity is None:
        raise Unauthenticated("This user may not come in any more.")
    return Shown(identity, purpose=PURPOSE)
