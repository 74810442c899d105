"""What is said to the database of a run names it, so that one machine or one partition can answer it."""

from __future__ import annotations

import json
import re

from tests.agent_side import lines, points
from tests.store.test_spreading import SMALL
from tracker.actions.compact import compact_run
from tracker.events import encode_request
from tracker.store.tables import Table

from . import samples
from .conftest import Server
from .test_api import counted_statements

NAMED = re.compile(
    r"""\brun_id\b\ *(=|IN\b) | \bruns\.id\ =\ [?%] | \(gpus\.run_id,\ gpus\.attempt\)\ IN
    | INTO\ \w+\ (AS\ \w+\ )? \("?run_id\b""",
    re.VERBOSE,
)
ASKED_BY_NODE = "logs.complete IS"
"""Which outputs an agent follows is asked by its node, once a request: one row of each live run there."""
LARGE = "|".join(sorted({*Table.metadata.tables} - SMALL - {"runs"}))


def test_deliveries_charts_and_pages_of_a_run_say_which_run_they_are_about(server: Server) -> None:
    with server.database.write() as session:
        run = samples.busy_afternoon(session)["running"]
    node, people = server.token("n1", "node", "node"), server.token("root", "admin")

    def ask(method: str, path: str, body: bytes | dict | None = None, token: str = people) -> None:
        raw = json.dumps(body).encode() if isinstance(body, dict) else body
        answer = server.ask(path, method=method, token=token, body=raw)
        assert answer.status < 300, answer.text

    with counted_statements(server) as said:
        for folder in ("dev.12", "dev.13", "dev.12"):
            about = {"event": "run", "name": "x", "params": {"lr": 1}, "tags": {"a": "b"}, "time": 1.7e9}
            part, raw = lines(folder, about, *points(300), writer=f"w{len(said)}")
            manifest = {"version": 1, "agent": {"node": "n1", "cluster": "dev", "time": 1.7e9}, "folders": []}
            delivery = encode_request(manifest | {"parts": [part | {"length": len(raw)}]}, [raw])
            ask("POST", "/api/v1/ingest", delivery, node)
        ask("POST", f"/api/v1/runs/{run.id}/metrics", {"points": [{"metric": "loss", "value": 1}]})
        compact_run(server.database, run.id)
        charts = "/series?metric=loss&thin=mean", "/series?metric=loss&rank=all"
        for path in ("", *charts, "/log", "/media", "/artifacts"):
            ask("GET", f"/api/v1/runs/{run.id}{path}")
        ask("POST", "/api/v1/series", {"runs": [run.id], "metrics": ["loss"]})
        ask("GET", f"/runs/{run.id}")
    about_runs = [one for one in said if re.search(rf"(FROM|JOIN|UPDATE|INTO) ({LARGE})\b", one)]
    assert len(about_runs) > 40
    assert [one for one in about_runs if not NAMED.search(one) and ASKED_BY_NODE not in one] == []
