"""The API of GPUs over time and of a run's timeline."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.web import samples

from .conftest import Server


def test_the_api_tells_who_has_which_gpu_to_whom_it_concerns(server: Server) -> None:
    with server.database.write() as session:
        mine = samples.add_run(session, name="mine", gpus={"n1": [0, 1]}, age_s=900)
        samples.add_run(session, name="bob's", user="bob", state="FAILED", gpus={"n2": [3]}, age_s=5000, took_s=3600)
    alice, root = server.token(), server.token("root", "admin")
    found = server.ask("/api/v1/gpus", token=alice).json
    assert [(one["node"], one["index"], one["run"], one["to"]) for one in found["items"]] == [
        ("n1", 1, mine.id, None), ("n1", 0, mine.id, None),
    ]  # fmt: skip
    assert len(server.ask("/api/v1/gpus", token=root).json["items"]) == 3
    asked = f"/api/v1/gpus?node=n2&at={samples.moment(3000):%Y-%m-%dT%H:%M:%SZ}"
    (one,) = server.ask(asked, token=root).json["items"]
    assert (one["user"], one["name"], one["state"], one["uuid"]) == ("bob", "bob's", "FAILED", "GPU-n2-3")
    assert server.ask(f"{asked}&index=0", token=root).json["items"] == []
    page = server.ask("/api/v1/gpus?limit=2", token=root).json
    rest = server.ask(f"/api/v1/gpus?limit=2&cursor={page['next_cursor']}", token=root).json
    assert ([one["index"] for one in page["items"] + rest["items"]], rest["next_cursor"]) == ([1, 0, 3], None)
    hours = server.ask("/api/v1/gpu-hours?by=state", token=root).json
    assert [(one["key"], round(one["gpu_hours"], 1)) for one in hours["items"]] == [("FAILED", 1.0), ("RUNNING", 0.5)]
    assert round(hours["total"]["gpu_hours"], 1) == 1.5
    mine_only = server.ask("/api/v1/gpu-hours?by=user", token=alice).json["items"]
    assert [one["key"] for one in mine_only] == ["alice"]


@pytest.mark.parametrize(
    "query",
    [
        "gpus?at=2026-01-01T00:00:00Z&from=2026-01-01T00:00:00Z",
        "gpus?from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z",
        "gpus?cursor=nonsense",
        "gpus?cursor=WzEsICJhXHUwMDAwIiwgMSwgIm4xIiwgMF0",
        "gpus?index=-1",
        "gpu-hours?by=colour",
        "gpu-hours?from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z",
    ],
)
def test_what_cannot_be_asked_is_refused_in_a_sentence(server: Server, query: str) -> None:
    refused = server.ask(f"/api/v1/{query}", token=server.token())
    assert (refused.status, refused.json["code"]) == (400, "bad_input")


def test_a_run_tells_its_timeline(server: Server) -> None:
    with server.database.write() as session:
        run = samples.add_run(session, state="COMPLETED", took_s=100, gpus={"n1": [0]}, name=samples.SCRIPT)
    told = server.ask(f"/api/v1/runs/{run.id}/timeline", token=server.token()).json
    assert [one["what"] for one in told["facts"]] == ["submitted", "allocated", "ended", "final"]
    assert [(one["doing"], one["attempt"]) for one in told["spans"]] == [("pending", 1), ("running", 1)]
    assert told["complete"] is True
    assert server.ask(f"/api/v1/runs/{run.id}/timeline", token=server.token("bob")).status == 404


def test_the_command_shows_who_has_which_gpu_and_hours(server: Server) -> None:
    with server.database.write() as session:
        samples.add_run(session, name=samples.TERMINAL, gpus={"n1": [0]}, age_s=900, job_id=12)
        samples.add_run(session, name="over", state="FAILED", gpus={"n2": [3]}, age_s=5000, took_s=3600, job_id=13)
    environ = {**os.environ, "TRACKER_URL": server.url, "TRACKER_TOKEN": server.token()}

    def gpus(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "tracker", "gpus", *words]
        return subprocess.run(command, env=environ, capture_output=True, text=True, check=False)

    now = gpus().stdout
    assert "dev:12" in now and "GPU-n1-0" in now and "\x1b" not in now
    assert "dev:13" not in now
    assert "dev:13" in gpus("--node", "n2", "--at", "-50m").stdout
    assert [one["job_id"] for one in json.loads(gpus("--from", "-1d", "--json").stdout)] == [12, 13]
    hours = gpus("--by", "state").stdout
    assert ["FAILED", "1.00", "0.00", "0.00", "1"] in [line.split() for line in hours.splitlines()]
    for words in (("--at", "yesterday"), ("--at", "-1h", "--from", "-2h"), ("--by", "user", "--node", "n1")):
        refused = gpus(*words)
        assert (refused.returncode, refused.stdout, "Traceback" in refused.stderr) == (1, "", False)
