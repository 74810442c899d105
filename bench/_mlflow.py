"""MLflow's log-batch over HTTP, as its client calls it: 1,000 metrics a request, which is the most it takes."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from bench._agents import in_processes

METRICS_A_REQUEST = 1_000
REQUESTS = 10


def log_batches(url: str, processes: int, metrics: int) -> tuple[int, float]:
    """Log from so many processes, each to a run of its own: how many points, and in how many seconds."""

    def work(_number: int, ready: Callable[[], object]) -> float:
        connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=120)
        begun = {"experiment_id": "0", "start_time": round(time.time() * 1000)}
        run_id = _call(connection, "runs/create", begun)["run"]["info"]["run_id"]
        bodies = [{"run_id": run_id, "metrics": _metrics(metrics, request)} for request in range(REQUESTS)]
        ready()
        for body in bodies:
            _call(connection, "runs/log-batch", body)
        return time.monotonic()

    took_s = in_processes(work, processes)
    return processes * REQUESTS * METRICS_A_REQUEST, took_s


def _metrics(metrics: int, request: int) -> list[dict[str, Any]]:
    now_ms = round(time.time() * 1000)
    return [
        {"key": f"train/metric_{one % metrics}", "value": 1 / (1 + step), "step": step, "timestamp": now_ms + step}
        for one in range(METRICS_A_REQUEST)
        for step in [request * METRICS_A_REQUEST // metrics + one // metrics]
    ]


def _call(connection: http.client.HTTPConnection, what: str, body: dict[str, Any]) -> dict[str, Any]:
    headers = {"Content-Type": "application/json"}
    connection.request("POST", f"/api/2.0/mlflow/{what}", json.dumps(body), headers)
    answer = connection.getresponse()
    said: dict[str, Any] = json.loads(answer.read())
    if answer.status != 200:
        raise LookupError(f"{answer.status}: {said}")
    return said
