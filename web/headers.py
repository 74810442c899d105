"""Headers of every answer: what a browser may do with it."""

from __future__ import annotations

import re

from flask import Flask, Response, request
from flask_cors import CORS

from tracker.settings import Settings

CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "font-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'self'",
    )
)

NOTHING_BUT_ITSELF = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'self'; sandbox"
"""The policy of what users made and browsers may open by itself; they lay out an image with styles of their own."""
_A_YEAR_S = 31_536_000
FOREVER = f"private, max-age={_A_YEAR_S}, immutable"
"""How long browsers may keep what never changes."""


def install(app: Flask, settings: Settings) -> None:
    """Put the headers on every answer of the application, and let scripts of chosen sites read the API."""
    app.after_request(_protect)
    origins = settings.cors_origins.replace(",", " ").split()
    if origins:  # with a token, never with a cookie: that is for our own pages
        shown = ["ETag", "Location", "Retry-After", "Tracker-Series", "X-Request-ID"]
        sites = [re.escape(one) + r"\Z" for one in origins]
        CORS(app, resources={r"/api/v1/.*": {"origins": sites, "expose_headers": shown, "max_age": 600}})


def _protect(response: Response) -> Response:
    response.headers.setdefault("Content-Security-Policy", CONTENT_SECURITY_POLICY)
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "same-origin"
    response.headers["Cross-Origin-Opener-Policy"] = "same-origin"
    response.headers["Cross-Origin-Resource-Policy"] = "same-origin"
    response.headers["Permissions-Policy"] = "camera=(), microphone=(), geolocation=()"
    if request.is_secure:
        response.headers["Strict-Transport-Security"] = f"max-age={_A_YEAR_S}"
    if request.endpoint != "static":
        response.headers.setdefault("Cache-Control", "private, no-cache")
        response.vary.update(("Authorization", "Cookie"))
    return response
