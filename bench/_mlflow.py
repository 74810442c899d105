"""MLflow beside ours, as its client asks it: log-batch with at most 1,000 metrics a request, charts, and search."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg2

from bench._agents import in_processes
from bench._peers import mlflow_server, peers_python
from bench._runs_filled import copy, narrow, wide
from bench._servers import new_database
from lab.place import LabError

METRICS_A_REQUEST = 1_000
REQUESTS = 10


@contextmanager
def beside(folder: Path, database: str) -> Iterator[tuple[str, int]]:
    """MLflow's server on the PostgreSQL of this database: its address and its process. Raises LabError."""
    try:
        python = peers_python()
    except LabError as problem:
        raise LabError(f"{problem}; --no-peers measures without MLflow") from None
    store = new_database(database.rpartition("/")[0], "mlflow").replace("postgresql://", "postgresql+psycopg2://")
    with mlflow_server(python, folder / "mlflow", store) as server:
        yield server


def filled_runs(url: str, database: str, runs: int, points: int) -> list[str]:
    """Runs with so many points of `loss` each, put where its server reads them: logging them would take minutes."""
    http_client = http.client.HTTPConnection(urlsplit(url).netloc, timeout=120)
    begun = {"experiment_id": "0", "start_time": round(time.time() * 1000)}
    ids = [_call(http_client, "runs/create", begun)["run"]["info"]["run_id"] for _ in range(runs)]
    connection = psycopg2.connect(f"{database.rpartition('/')[0]}/mlflow")
    with connection, connection.cursor() as cursor:
        for run_id in ids:
            cursor.execute(_FILL, (run_id, points))
        cursor.execute("ANALYZE metrics")
    connection.close()
    return ids


_FILL = """
INSERT INTO metrics (key, value, timestamp, run_uuid, step, is_nan)
SELECT 'loss', 2.3 * exp(-step / 300000.0) + 0.12 + 0.06 * random(), 1780000000000 + step * 20, %s, step, false
FROM generate_series(0, %s - 1) AS step
"""


def chart_path(ids: list[str], points: int) -> str:
    """Where its pages get a chart of these runs."""
    told = "&".join(f"run_ids={one}" for one in ids)
    return f"/ajax-api/2.0/mlflow/metrics/get-history-bulk-interval?metric_key=loss&max_results={points}&{told}"


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


def fill_runs(database: str, runs: int) -> None:
    """Put the runs that tracker finds into MLflow's own tables; of their points the last ones, which it searches."""
    rows, ids = narrow(0, runs, runs)
    found = wide(ids)
    for lines in (*rows.values(), *found.values()):
        lines[:] = [(one[0].replace("-", ""), *one[1:]) for one in lines]  # as MLflow writes ids
    tables = {
        "runs (run_uuid, name, user_id, status, start_time, end_time, lifecycle_stage, experiment_id, artifact_uri)": [
            (run[0], run[2], run[3], "FINISHED", run[6] // 1000, run[7] // 1000, "active", 0, "/nowhere")
            for run in rows["runs"]
        ],
        "params (run_uuid, key, value)": [one[:3] for one in found["params"]],
        "tags (run_uuid, key, value)": rows["tags"],
        "latest_metrics (run_uuid, key, value, timestamp, step, is_nan)": [
            (run_id, metric, 0.0 if last is None else last, 0, 9999, last is None)
            for run_id, metric, last, *_ in found["summaries"]
        ],
    }
    connection = psycopg2.connect(f"{database.rpartition('/')[0]}/mlflow")
    for table, lines in tables.items():
        copy(connection, table, lines)
    connection.commit()
    connection.autocommit = True
    connection.cursor().execute("VACUUM ANALYZE")
    connection.close()


def search(url: str, query: dict[str, Any]) -> float:
    """Ask for a page of 50 runs: how long the answer takes, in milliseconds."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=120)
    connection.connect()
    begun_s = time.perf_counter()
    found = _call(connection, "runs/search", {"experiment_ids": ["0"], "max_results": 50, **query})
    took_ms = (time.perf_counter() - begun_s) * 1000
    connection.close()
    if not found.get("runs"):
        raise LabError(f"MLflow finds no run of {query}")
    return took_ms


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
