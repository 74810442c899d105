"""Tables for other programs: what pandas and a spreadsheet read of them."""

from __future__ import annotations

import csv
import io
import math
from urllib.parse import urlencode

import pandas
import pytest

from tracker.store import exports, params

from . import samples
from .conftest import Server

FORMULA = "=cmd|' /C calc'!A0"


@pytest.fixture
def logged(server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """Five runs of alice and one of bob, read two at a time."""
    monkeypatch.setattr(exports, "RUNS_AT_ONCE", 2)
    monkeypatch.setattr(exports, "READ_POINTS", 3)
    with server.database.write() as session:
        for number in range(5):
            run = samples.add_run(session, name=FORMULA if number == 0 else f"run {number}", age_s=600 - number)
            params.set_params(session, run.id, {"lr": f"-{number}.5", "only" if number == 3 else "seed": "+1+1"})
            params.set_tags(session, run.id, {"note": 'a,\n"b" é'})
            samples.log(session, run, "loss", [1.5, math.nan, math.inf, float(number)])
            samples.log(session, run, "acc", [0.1])
        samples.add_run(session, name="bob's", user="bob")
    return server


def _export(server: Server, what: str, **asked: str) -> bytes:
    answer = server.ask(f"/api/v1/runs:{what}?{urlencode(asked)}", token=server.token())
    assert answer.status == 200
    assert answer.headers["Content-Disposition"].startswith("attachment")
    return answer.body


def test_all_runs_are_a_row_each(logged: Server) -> None:
    text = _export(logged, "export").decode()
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["name"] for row in rows] == ["run 4", "run 3", "run 2", "run 1", "'" + FORMULA]
    assert (rows[1]["params.lr"], rows[1]["params.only"], rows[1]["params.seed"]) == ("-3.5", "'+1+1", "")
    assert (rows[0]["tags.note"], rows[0]["metrics.loss"], rows[0]["state"]) == ('a,\n"b" é', "4.0", "RUNNING")
    assert rows[0]["started_at"].endswith("Z")
    table = pandas.read_parquet(io.BytesIO(_export(logged, "export", format="parquet")))
    assert table.name.tolist() == ["run 4", "run 3", "run 2", "run 1", FORMULA]
    assert table["metrics.loss"].tolist() == [4.0, 3.0, 2.0, 1.0, 0.0]
    assert str(table.started_at.dtype).startswith("datetime64[us, UTC")


def test_all_points_are_a_row_each_exactly_as_they_were_logged(logged: Server) -> None:
    few = {"filter": "params.lr in ('-1.5', '-2.5')"}
    rows = list(csv.DictReader(io.StringIO(_export(logged, "export-series", metric="loss", **few).decode())))
    assert [row["value"] for row in rows] == ["1.5", "NaN", "Infinity", "2.0", "1.5", "NaN", "Infinity", "1.0"]
    assert {(row["metric"], row["rank"], row["attempt"]) for row in rows} == {("loss", "0", "1")}
    table = pandas.read_parquet(io.BytesIO(_export(logged, "export-series", format="parquet")))
    assert len(table) == 25
    assert table.columns.tolist() == ["run", "metric", "step", "time", "value", "rank", "attempt", "value_integer"]


def test_an_export_of_nothing_is_a_table_and_one_that_cannot_be_is_a_problem(
    logged: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(pandas.read_parquet(io.BytesIO(_export(logged, "export", format="parquet", q="nobody")))) == 0
    assert _export(logged, "export-series", q="nobody").decode().splitlines() == [
        "run,metric,step,time,value,rank,attempt"
    ]
    monkeypatch.setattr(exports, "MOST_NAMES", 2)
    for wrong, status, code in (
        ("filter=a~", 400, "bad_filter"),
        ("format=xls", 400, "bad_input"),
        ("", 413, "too_large"),
    ):
        refused = logged.ask(f"/api/v1/runs:export?{wrong}", token=logged.token())
        assert (refused.status, refused.json["code"]) == (status, code)
