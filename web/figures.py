"""Figures for Prometheus: of all processes of this server together, where they share a folder."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable

from flask import Flask, Response, g, request
from prometheus_client import REGISTRY, CollectorRegistry, Counter, Histogram, Metric, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
"""Names the folder that the processes share. It must be set before this module is loaded."""

_requests = Counter("tracker_http_requests", "Requests that were answered.", ("method", "endpoint", "status"))
_seconds = Histogram(
    "tracker_http_request_seconds", "How long answering took.", ("endpoint",),
    buckets=(0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10),
)  # fmt: skip
_METHODS = {"GET", "HEAD", "OPTIONS", "POST", "PATCH", "PUT", "DELETE"}


def install(app: Flask) -> None:
    """Count the application's requests."""
    app.after_request(_count)


def _count(response: Response) -> Response:
    endpoint = request.endpoint or "none"
    method = request.method if request.method in _METHODS else "other"
    _requests.labels(method, endpoint, response.status_code).inc()
    if "began_s" in g:
        _seconds.labels(endpoint).observe(time.perf_counter() - g.began_s)
    return response


def text() -> str:
    """All figures in Prometheus' text format."""
    if FOLDER_VARIABLE not in os.environ:
        return generate_latest(REGISTRY).decode()
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry).decode()


class _Told(Collector):
    """Figures that were counted elsewhere."""

    def __init__(self, figures: Iterable[Metric]) -> None:
        self._figures = figures

    def collect(self) -> Iterable[Metric]:
        """The figures."""
        return self._figures


def text_of(figures: Iterable[Metric]) -> str:
    """These figures in Prometheus' text format."""
    return generate_latest(_Told(figures)).decode()
