"""Whether the server lives, whether it can work, and figures for Prometheus."""

from __future__ import annotations

from collections.abc import Mapping

from flask import Blueprint, Response, jsonify
from flask.typing import ResponseReturnValue
from prometheus_client.core import GaugeMetricFamily

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
    told = [GaugeMetricFamily("tracker_up", "The server answers.", 1), _by_state(counted)]
    if not viewer().sees_all:
        return _answer(figures.text_of(told))
    return _answer(figures.text_of([*told, *slurm_figures.figures(watched)]) + figures.text())


def _answer(text: str) -> Response:
    return Response(text, content_type="text/plain; version=0.0.4; charset=utf-8")


def _by_state(counted: Mapping[str, int]) -> GaugeMetricFamily:
    found = GaugeMetricFamily("tracker_runs", "Runs by state.", labels=("state",))
    for state in STATES:
        found.add_metric((state,), counted.get(state, 0))
    return found
