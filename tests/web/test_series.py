"""Series through the API: of many runs at once, a part of the axis, and all points as columns of numbers."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from sqlalchemy import event

import tracker
from tests.store.test_segments import noisy, points
from tracker.store import segments, writers
from tracker.store.tables import Writer

from . import samples
from .conftest import Server


def ask(server: Server, token: str = "", **asked: Any) -> Any:
    """`POST /series`."""
    body = json.dumps(asked).encode()
    return server.ask("/api/v1/series", method="POST", token=token or server.token(), body=body)


@pytest.fixture
def run_ids(server: Server) -> list[str]:
    """Three runs of alice with two metrics each, and one with one."""
    with server.database.write() as session:
        made = [samples.add_run(session) for _ in range(4)]
        for number, run in enumerate(made):
            samples.log(session, run, "loss", [number + 1 / (step + 1) for step in range(50)])
            if number < 3:
                samples.log(session, run, "acc", [0.5, math.nan])
    return [run.id for run in made]


def test_many_series_are_what_each_of_them_is(server: Server, run_ids: list[str]) -> None:
    answer = ask(server, runs=run_ids, metrics=["loss", "acc", "nothing"], max_points=10)
    assert answer.status == 200, answer.text
    items = answer.json["items"]
    assert [(one["run"], one["metric"]) for one in items] == [
        (run_id, metric) for run_id in run_ids for metric in ("loss", "acc") if (run_id, metric) != (run_ids[3], "acc")
    ]
    for one in items:
        path = f"/api/v1/runs/{one.pop('run')}/series?metric={one['metric']}&max_points=10"
        assert server.ask(path, token=server.token()).json == one


def test_means_of_a_long_series_come_with_their_ranges(server: Server) -> None:
    """As columns they are not told; what is not too long is as it is."""
    with server.database.write() as session:
        run = samples.add_run(session)
        samples.log(session, run, "loss", [0.0, 1.0, math.nan, 3.0, 8.0, math.inf])
    path = f"/api/v1/runs/{run.id}/series?metric=loss&thin=mean"
    token = server.token()
    few = server.ask(f"{path}&max_points=3", token=token, Accept="application/octet-stream").json
    assert (few["x"], few["y"], few["count"], few["downsampled"]) == ([0, 2, 4], [0.5, 3, 8], 6, True)
    assert (few["min"], few["max"]) == ([0, 3, 8], [1, 3, "Infinity"])
    every = server.ask(path, token=token).json
    assert (every["y"], every["min"]) == ([0, 1, "NaN", 3, 8, "NaN"], [0, 1, "NaN", 3, 8, "Infinity"])
    read = tracker.Api(server.url, token).run(run.id).series("loss", thin="mean", max_points=3)
    assert (read.y, read.answer["max"]) == ([0.5, 3.0, 8.0], [1, 3, "Infinity"])
    assert server.ask(f"{path}&rank=all", token=token).json["lines"][0]["max"] == every["max"]
    assert server.ask(path.replace("mean", "median"), token=token).status == 400


def test_many_series_cost_as_many_statements_as_one(server: Server, run_ids: list[str]) -> None:
    said: list[str] = []
    event.listen(server.database.engine, "before_cursor_execute", lambda *seen: said.append(seen[2]))
    token = server.token()
    counts = []
    for asked in ({"runs": run_ids[:1], "metrics": ["loss"]}, {"runs": run_ids, "metrics": ["loss", "acc", "x"]}):
        said.clear()
        assert ask(server, token, **asked).status == 200
        counts.append(sum(one.startswith("SELECT") for one in said))
    assert counts[0] == counts[1] <= 5


def test_who_may_not_see_a_run_gets_none_of_them(server: Server, run_ids: list[str]) -> None:
    answer = ask(server, server.token("bob"), runs=run_ids, metrics=["loss"])
    assert (answer.status, answer.json["code"]) == (404, "not_found")


@pytest.mark.parametrize(
    "asked",
    [
        {"runs": [], "metrics": ["loss"]},
        {"runs": ["nonsense"], "metrics": ["loss"]},
        {"metrics": []},
        {"runs": 1, "metrics": ["\0"]},
        {"metrics": ["m"] * 101},
        {"metrics": [f"m{number}" for number in range(100)], "max_points": 100_000},
        {"metrics": ["loss"], "x_min": 1e300},
        {"metrics": ["loss"], "x_min": "NaN"},
        {"metrics": ["loss"], "more": 1},
    ],
)
def test_what_is_too_much_or_nonsense_is_refused(server: Server, run_ids: list[str], asked: dict[str, Any]) -> None:
    answer = ask(server, **({"runs": run_ids[:1]} | asked))
    assert (answer.status, answer.json["code"]) == (400, "bad_input")


def test_a_part_of_the_axis_is_shown_alone(server: Server, run_ids: list[str]) -> None:
    path = f"/api/v1/runs/{run_ids[0]}/series?metric=loss"
    found = server.ask(f"{path}&x_min=9.5&x_max=20", token=server.token()).json
    assert (found["x"], found["count"]) == ([*range(10, 21)], 11)
    times = server.ask(f"{path}&x=time", token=server.token()).json["x"]
    part = server.ask(f"{path}&x=time&x_min={times[3]!r}&x_max={times[7]!r}", token=server.token()).json
    assert part["x"] == times[3:8]
    nothing = server.ask(f"{path}&x_min=5&x_max=4", token=server.token()).json
    assert (nothing["x"], nothing["count"]) == ([], 0)


def test_all_points_of_a_long_series_come_as_numbers(server: Server) -> None:
    values = noisy(150_000)
    with server.database.write() as session:
        run = samples.add_run(session)
        session.add(Writer(run_id=run.id, name="w", restarts=0, first_step=0))
        session.flush()
        segments.extend(session, run.id, "w", {"loss": points(values)})
    api = tracker.Api(server.url, server.token())
    series = api.run(run.id).series("loss")
    steps, got = series.to_numpy()
    assert (steps.dtype, len(series)) == (np.int64, 150_000)
    assert steps.tolist() == list(range(150_000))
    assert got.tobytes() == values.tobytes()
    assert series.answer == {"metric": "loss", "count": 150_000, "downsampled": False, "hidden": 0}
    times, over_time = api.run(run.id).series("loss", x="time", x_max=1_700_000_000.5).to_numpy()
    assert (times[0], len(times), over_time.tobytes()) == (1_700_000_000.0, 51, values[:51].tobytes())
    few = api.run(run.id).series("loss", max_points=100)
    assert (len(few) <= 100, few.answer["downsampled"]) == (True, True)
    refused = server.ask(f"/api/v1/runs/{run.id}/series?metric=loss&max_points=100001", token=server.token())
    assert (refused.status, refused.json["code"]) == (400, "bad_input")


def test_series_of_several_lines_are_told_by_line_whoever_asks(server: Server) -> None:
    with server.database.write() as session:
        run = samples.add_run(session)
        for node in ("n1", "n2"):
            samples.log(session, run, "system/cpu.percent", [1.0, 2.0], node=node, kind=writers.MACHINE)
            samples.log(session, run, "loss", [3.0, 2.0], node=node, rank=int(node[1]))
    api = tracker.Api(server.url, server.token())
    machine = api.run(run.id).series("system/cpu.percent")
    assert [line["node"] for line in machine.answer["lines"]] == ["n1", "n2"]
    mean = api.run(run.id).series("loss", rank="mean")
    assert (mean.y, mean.answer["ranks"]) == ([3.0, 2.0], 2)
