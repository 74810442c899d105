"""The API, `/api/v1`. A handler makes three moves: read, call, answer."""

from __future__ import annotations

from flask import Blueprint, Flask

from tracker.settings import Settings
from tracker.store.database import Database
from web.api import (
    artifacts,
    audit,
    captures,
    cluster,
    experiments,
    exports,
    gpus,
    groups,
    ingest,
    many_runs,
    many_series,
    media,
    munge,
    openapi,
    output,
    points,
    run_changes,
    runs,
    series,
    stream,
    timeline,
    tokens,
)


def install(app: Flask, settings: Settings, db: Database) -> None:
    """Put the API into the application."""
    stream.install(app, settings, db)
    ingest.install(app, settings, db)
    api = Blueprint("api", __name__, url_prefix="/api/v1")
    of_runs = (
        runs.runs, groups.groups, exports.exports, run_changes.run_changes, many_runs.many_runs, points.points,
        series.series, many_series.many_series, output.output, artifacts.artifacts, captures.captures, media.media,
        timeline.timelines,
    )  # fmt: skip
    for part in (
        experiments.experiments,
        *of_runs,
        cluster.cluster,
        gpus.gpus,
        ingest.ingest,
        openapi.openapi,
        stream.stream,
        tokens.tokens,
        munge.munge,
        audit.audit,
    ):
        api.register_blueprint(part)
    app.register_blueprint(api)
