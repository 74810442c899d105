"""The server: the API under `/api/v1`, and the pages."""

from __future__ import annotations

from flask import Flask
from werkzeug.routing import BaseConverter

from tracker.settings import Settings
from tracker.store.database import Database
from web import api, audit, auth, figures, freshness, headers, health, limits, logs, packing, pages, peers, problems
from web.text import harmless

MAX_BODY_BYTES = 1024 * 1024


class _Server(Flask):
    # Every text that a template prints goes through `harmless`, so that no page can forget it.
    jinja_options = {"finalize": harmless, "trim_blocks": True, "lstrip_blocks": True}  # noqa: RUF012


class _RunName(BaseConverter):
    """How an address names a run, or a part of one; databases take no NUL, so it may have none."""

    regex = r"[^/\x00]{1,200}"
    part_isolating = True


def create_app(settings: Settings, db: Database | None = None) -> Flask:
    """Make the WSGI application. It honours SCRIPT_NAME, so it may live under a prefix."""
    app = _Server(__name__)
    app.config["MAX_CONTENT_LENGTH"] = app.config["MAX_FORM_MEMORY_SIZE"] = MAX_BODY_BYTES
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.extensions["tracker.settings"] = settings
    app.extensions["tracker.database"] = db or Database(settings.database_url)
    app.url_map.converters["run"] = _RunName
    peers.install(app, settings)
    logs.install(app)
    figures.install(app)
    packing.install(app)
    headers.install(app, settings)
    freshness.install(app)
    problems.install(app)
    audit.install(app)
    auth.install(app, settings)
    limits.install(app, settings)
    api.install(app, settings, app.extensions["tracker.database"])
    pages.install(app)
    app.register_blueprint(health.health)
    return app
