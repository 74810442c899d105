"""Groups of runs: what numpy says of all runs and all points, on both databases."""

from __future__ import annotations

import numpy as np
import pytest

from tests.web import samples
from tracker.errors import BadFilter
from tracker.store import params, runs
from tracker.store.database import Database
from tracker.store.identity import Identity
from tracker.store.search.groups import Figures, Group, fields
from tracker.store.search.language import Field, parse

ADMIN = Identity("root", "admin")
LOSS = Field("metrics", "loss", "last", 1)
LOGGED = {
    "0.1": [[1e9 + 1, 1e9 + 2, 1e9 + 4], [1e9 + 8.0], [float("nan"), 1e9 + 3, float("nan")]],
    "0.01": [[-5.0, float("inf"), 7.0], [1e200, 3.0]],
    None: [[2.0, 2.0]],
}


@pytest.fixture
def sweep(db: Database) -> Database:
    with db.write() as session:
        for lr, logged in LOGGED.items():
            for losses in logged:
                run = samples.add_run(session, took_s=60, state="COMPLETED")
                params.set_params(session, run.id, {"lr": lr} if lr else {"seed": "1"})
                params.set_tags(session, run.id, {"note": 'a "quoted" \\ text, long: ' + "x" * 100})
                samples.log(session, run, "loss", losses)
        samples.add_run(session, user="bob")
    return db


def _groups(db: Database, text: str, metric: Field | None = LOSS, viewer: Identity = ADMIN) -> dict[object, Group]:
    with db.read() as session:
        return {one.key: one for one in runs.groups(session, viewer, fields(text), metric)}


def _near(figures: Figures | None, values: list[float]) -> bool:
    assert figures is not None and figures.count == len(values)
    told = [figures.mean, figures.min, figures.max, *([] if figures.std is None else [figures.std])]
    std = [np.std(values, ddof=1)] if len(values) > 1 else []
    return told == pytest.approx([np.mean(values), min(values), max(values), *std], rel=1e-7)


def test_a_group_tells_of_all_its_runs_and_of_all_their_points(sweep: Database) -> None:
    found = _groups(sweep, "params.lr")
    assert {key: one.runs for key, one in found.items()} == {("0.1",): 3, ("0.01",): 2, (None,): 2}
    assert _near(found["0.1",].values, [1e9 + 4, 1e9 + 8])  # the third one ended with NaN
    assert _near(found["0.1",].points, [1e9 + 1, 1e9 + 2, 1e9 + 4, 1e9 + 8, 1e9 + 3])
    assert _near(found["0.01",].values, [7.0, 3.0])
    assert _near(found["0.01",].points, [-5.0, 7.0])  # what has no square is left out
    assert _near(found[None,].values, [2.0])


def test_the_filter_of_a_group_finds_its_runs(sweep: Database) -> None:
    for text in ("params.lr", "tags.note, params.lr", "user", "state, experiment, params.seed", "exit_code"):
        for one in _groups(sweep, text, None).values():
            with sweep.read() as session:
                assert len(runs.find(session, ADMIN, where=parse(one.filter)).items) == one.runs, one.filter


def test_people_group_their_own_runs_and_by_what_can_be_the_same(sweep: Database) -> None:
    assert [one.runs for one in _groups(sweep, "user", viewer=Identity("bob", "user")).values()] == [1]
    for text, told in (("metrics.loss", "by params, tags or attributes"), ("colour", "runs have no `colour`")):
        with pytest.raises(BadFilter, match=told):
            _groups(sweep, text)
    with pytest.raises(BadFilter, match="hardly the same for two runs"):
        _groups(sweep, "started_at")
