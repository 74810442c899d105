"""Reading back: `tracker.Api` and the commands on top of it, against a real server."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import tracker
from tests.conftest import ROOT
from tracker.errors import BadInput, NotFound, SetupProblem, Unauthenticated, Unavailable
from tracker.store import params

from . import samples
from .conftest import Server

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def api(server: Server) -> tracker.Api:
    """Runs of alice: two that logged, one whose name means trouble for terminals."""
    with server.database.write() as session:
        for name, lr, losses in (("first", "0.1", [1.0, 0.5]), ("second", "0.01", [1.0, math.nan])):
            run = samples.add_run(session, name=name, state="COMPLETED", took_s=100, job_id=7 if name == "first" else 8)
            params.set_params(session, run.id, {"lr": lr, "seed": "1"})
            samples.log(session, run, "loss", losses)
            samples.print_output(session, run, "".join(f"line {number}\n" for number in range(30)), complete=True)
        samples.add_run(session, name=samples.TERMINAL, state="PENDING", reason="Priority", job_id=9, age_s=60)
    return tracker.Api(server.url, server.token())


@pytest.fixture
def command(api: tracker.Api, server: Server) -> Command:
    """The command line, as alice has it."""

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        environ = {**os.environ, "TRACKER_URL": server.url, "TRACKER_TOKEN": server.token()}
        full = [sys.executable, "-m", "tracker", *words]
        return subprocess.run(full, cwd=ROOT, env=environ, capture_output=True, text=True, check=False)

    return run


def test_runs_come_lazily_in_order_with_their_facts(api: tracker.Api) -> None:
    found = list(api.runs("params.seed = 1", "params.lr"))
    assert [(run.name, run.params["lr"], run.state) for run in found] == [
        ("second", "0.01", "COMPLETED"), ("first", "0.1", "COMPLETED"),
    ]  # fmt: skip
    assert [run.name for run in api.runs(order_by="job_id", limit=1)] == ["first"]
    assert math.isnan(found[0].flat()["metrics.loss"])
    assert found[1].flat() | {"params.lr": "0.1", "metrics.loss": 0.5} == found[1].flat()


def test_a_series_becomes_arrays(api: tracker.Api) -> None:
    steps, values = api.run("dev:8").series("loss").to_numpy()
    assert steps.tolist() == [0.0, 1.0]
    assert values[0] == 1.0
    assert math.isnan(values[1])
    series = api.run("dev:7").series("loss")
    assert series.to_pandas().to_dict() == {0: 1.0, 1: 0.5}
    assert series.to_polars().to_dict(as_series=False) == {"step": [0, 1], "loss": [1.0, 0.5]}
    runs = api.runs("metrics.loss is not null", order_by="job_id")
    assert runs.to_pandas()["params.lr"].tolist() == runs.to_polars()["params.lr"].to_list() == ["0.1", "0.01"]
    assert api.run("dev:7").log(tail=1) == "line 29\n"


def test_what_cannot_be_had_is_told_in_a_sentence(api: tracker.Api, server: Server) -> None:
    with pytest.raises(NotFound, match="There is no run `dev:4711` that you may see"):
        api.run("dev:4711")
    with pytest.raises(BadInput, match="At column 15") as refused:
        list(api.runs("metrics.loss <"))
    assert refused.value.code == "bad_filter"
    with pytest.raises(Unauthenticated):
        list(tracker.Api(server.url, "nonsense").runs())
    with pytest.raises(Unavailable, match="does not answer"):
        list(tracker.Api("http://127.0.0.1:1").runs())
    with pytest.raises(SetupProblem, match="No server is known"):
        tracker.Api()
    with pytest.raises(SetupProblem, match="is no address of a server"):
        tracker.Api("tracker.example.org:8265")


def test_the_server_of_the_same_home_is_found(api: tracker.Api, server: Server) -> None:
    home = Path(os.environ["TRACKER_HOME"])
    (home / "keys").mkdir(parents=True)
    (home / "server.json").write_text(json.dumps({"url": server.url}))
    (home / "keys" / "api.token").write_text(server.token() + "\n")
    assert tracker.Api().run("dev:7").name == "first"


def test_people_see_tables_and_programs_json(command: Command) -> None:
    listed = command("ls", "metrics.loss < 0.9", "--order", "name")
    assert listed.returncode == 0, listed.stderr
    head, row = listed.stdout.splitlines()
    assert head.split()[:3] == ["state", "name", "experiment"]
    assert row.split() == ["COMPLETED", "first", "mnist", "alice", "dev:7", "00:01:40", "loss=0.5"]
    assert [run["name"] for run in json.loads(command("ls", "--json", "--order", "job_id").stdout)][:2] == [
        "first",
        "second",
    ]
    shown = command("show", "dev:7").stdout
    assert "COMPLETED" in shown
    assert "lr" in shown
    assert json.loads(command("show", "dev:7", "--json").stdout)["summary"]["loss"]["last"] == 0.5
    compared = command("compare", "dev:7", "dev:8").stdout
    assert ["params.lr", "0.1", "0.01"] in [line.split() for line in compared.splitlines()]
    assert "params.seed" not in compared
    assert command("tail", "dev:7", "-n", "2").stdout == "line 28\nline 29\n"
    assert "Other jobs come first." in command("queue").stdout


def test_a_command_that_cannot_be_done_says_why_and_shows_no_traceback(command: Command) -> None:
    for words, told in (
        (("show", "dev:1"), "There is no run `dev:1`"),
        (("ls", "a ="), "At column 4: expected a value"),
        (("ls", "name = x y"), "\n  name = x y\n           ^\n"),
        (("ls", "--order", "nothing"), "\n  nothing\n  ^\n"),
    ):
        refused = command(*words)
        assert refused.returncode == 1
        assert told in refused.stderr
        assert "Traceback" not in refused.stderr


def test_a_terminal_obeys_nothing_that_users_wrote(command: Command) -> None:
    listed = command("ls").stdout
    assert "\x1b" not in listed
    assert "\x07" not in listed
