"""Whole numbers of 64 bits: the same from the spool or the API to numpy, JSON and files, each digit of them."""

from __future__ import annotations

import csv
import io
import math

import numpy as np
import pandas

import tracker
from tests.agent_side import Agent, lines
from tests.store.test_exact import same
from tracker.store import compaction

from . import samples
from .conftest import Server

BIG = [2**53 + 1, -(2**63), 2**63 - 1, 7]


def test_a_whole_number_is_exact_from_the_spool_to_numpy_json_and_files(server: Server) -> None:
    """Also beyond 64 bits, and beside what is no whole number: the nearest float, as the client would write it."""
    told = [{"metrics": {"n": one, "mixed": one, "loss": 0.5}, "step": step} for step, one in enumerate(BIG)]
    told.append({"metrics": {"mixed": 0.5}, "step": 4})
    told.append({"metrics": {"mixed": "NaN", "huge": 2**64 - 1}, "step": 5})
    Agent(server.database).send(lines("dev.12", *told))
    api = tracker.Api(server.url, server.token("root", "admin"))
    run = api.run("dev:12")
    for compacted in (False, True):
        if compacted:
            with server.database.write() as session:
                compaction.compact(session, run.id, "w1")
        y = run.series("n").to_numpy()[1]
        assert (y.dtype, y.tolist()) == (np.int64, BIG)
        assert run.series("n").to_pandas().tolist() == BIG
        mixed = run.series("mixed")
        assert same(mixed.y, [*BIG, 0.5, math.nan])
        assert mixed.to_numpy()[1].dtype == np.float64
        assert run.series("loss").to_numpy()[1].dtype == np.float64
        assert run.series("huge").y == [2.0**64]
        assert run.series("n", rank="all").y == BIG  # by JSON
        text = server.ask(f"/api/v1/runs/{run.id}/series?metric=n", token=server.token("root", "admin")).text
        assert f'"y":[{2**53 + 1},-9.223372036854776e18,{2**63 - 1},7.0]' in text.replace("e+18", "e18")
        asked = f"/api/v1/runs:export-series?metric=n&q={run.id}"
        rows = csv.DictReader(io.StringIO(server.ask(asked, token=server.token("root", "admin")).text))
        assert [float(one["value"]) if "." in one["value"] else int(one["value"]) for one in rows] == BIG
        raw = server.ask(f"{asked}&format=parquet", token=server.token("root", "admin")).body
        table = pandas.read_parquet(io.BytesIO(raw), dtype_backend="pyarrow")
        assert table.value_integer.tolist() == [2**53 + 1, pandas.NA, 2**63 - 1, pandas.NA]
        assert table.value.tolist() == [float(one) for one in BIG]
    assert run.summary["n"]["max"] == 2.0**63  # summaries are floats


def test_points_of_the_api_are_exact_too_and_what_no_float_is_is_refused(server: Server) -> None:
    with server.database.write() as session:
        run_id = samples.add_run(session).id

    def post(value: str) -> int:
        body = f'{{"points": [{{"metric": "n", "value": {value}}}]}}'.encode()
        path = f"/api/v1/runs/{run_id}/metrics"
        return server.ask(path, method="POST", token=server.token(), body=body).status

    values = [str(2**53 + 1), str(2**63 - 1), str(-(2**63)), str(2**64), '"NaN"', "0.5", "3"]
    assert [post(one) for one in values] == [200] * len(values)
    got = tracker.Api(server.url, server.token()).run(run_id).series("n").y
    assert same(got, [2**53 + 1, 2**63 - 1, -(2**63), 2.0**64, math.nan, 0.5, 3])
    assert [post(one) for one in ("1" + "0" * 400, "1e999", "true", '"many"')] == [400] * 4
