"""Whose page a request comes from, and where a login leads to."""

from __future__ import annotations

from urllib.parse import urlsplit

from flask import request

from tracker.errors import Forbidden


def require_same_origin() -> None:
    """Raise Forbidden unless a page of ours, or nobody's, sent the request.

    A browser sends the cookie along with requests of foreign pages, too. It says in `Sec-Fetch-Site` whose page asks,
    which no script can change; where it does not (on plain http but to localhost) `Origin` does, which scripts cannot
    change either (docs/decisions/020-same-origin.md).
    """
    site = request.headers.get("Sec-Fetch-Site")
    if site is None:
        origin = urlsplit(request.headers.get("Origin", ""))
        site = "same-origin" if origin.netloc == request.host else "cross-site"
    if site not in ("same-origin", "none"):
        raise Forbidden("This request comes from a page of another site.")


def local_path(given: str) -> str:
    """The path if it leads to a page of ours, `/` otherwise: a link must not send people to another site."""
    plain = given.isascii() and given.isprintable() and "\\" not in given
    return given if plain and given.startswith("/") and not given.startswith("//") else "/"
