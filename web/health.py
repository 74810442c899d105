"""Whether the server lives, whether it can work, and figures for Prometheus."""

from __future__ import annotations

from flask import Blueprint, Response, jsonify
from flask.typing import ResponseReturnValue

from tracker.states import STATES
from tracker.store import clusters, runs
from web import figures, slurm_figures
from web.context import db, viewer

health = Blueprint("health", __name__)


@health.get("/healthz")
def healthz() -> ResponseReturnValue:
    """The process answers."""
    return jsonify(status="ok")


@health.get("/readyz")
def readyz() -> ResponseReturnValue:
    """The database answers, too, and has the tables we know; 503 otherwise."""
    db().check()
    return jsonify(status="ok")


@health.get("/metrics")
def metrics() -> ResponseReturnValue:
    """Runs by state that the asker may see and, for administrators, the server's own figures, for Prometheus."""
    with db().read() as session:
        counted = runs.counts_by_state(session, viewer())
        watched = clusters.all_of_them(session) if viewer().sees_all else []
    lines = ["# HELP tracker_up The server answers.", "# TYPE tracker_up gauge", "tracker_up 1"]
    lines += ["# HELP tracker_runs Runs by state.", "# TYPE tracker_runs gauge"]
    lines += [f'tracker_runs{{state="{state}"}} {counted.get(state, 0)}' for state in STATES]
    if viewer().sees_all:
        lines += slurm_figures.text(watched)
        lines.append(figures.text())
    return Response("\n".join(lines) + "\n", content_type="text/plain; version=0.0.4; charset=utf-8")
