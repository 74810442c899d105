"""Finding runs through the API and on the page: groups."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlencode

import pytest
from playwright.sync_api import expect

from tracker.store import params
from tracker.store.search import candidates

from . import samples
from .conftest import Person, Server
from .test_api import counted_statements

PAGES = (
    "/api/v1/runs", "/api/v1/runs?order_by=min(metrics.loss)+desc",
    "/api/v1/runs?order_by=params.lr&filter=params.lr+!%3D+7+and+metrics.loss+<+99+and+user+like+'%25'",
    "/api/v1/runs:groups?group_by=params.lr&metric=loss&filter=params.lr+>+0", "/runs?order_by=params.lr",
    "/runs?group_by=params.lr&metric=loss", "/experiments",
)  # fmt: skip
Visit = Callable[..., Person]


def _sweep(server: Server) -> None:
    with server.database.write() as session:
        for lr, loss in (("0.1", 3.0), ("0.1", 1.0), ("0.01", 0.5), (None, 9.0)):
            run = samples.add_run(session, name=f"lr {lr}", state="COMPLETED", took_s=60)
            params.set_params(session, run.id, {"lr": lr} if lr else {})
            samples.log(session, run, "loss", [4.0, loss])


def test_groups_tell_of_runs_and_of_all_points(server: Server) -> None:
    _sweep(server)
    asked = urlencode({"group_by": "params.lr", "metric": "loss", "filter": "params.lr is not null"})
    answer = server.ask(f"/api/v1/runs:groups?{asked}", token=server.token()).json
    assert answer["complete"] is True
    first, second = answer["items"]
    assert (first["key"], first["runs"], second["key"], second["runs"]) == (["0.1"], 2, ["0.01"], 1)
    assert first["values"] == {"count": 2, "mean": 2.0, "std": 2**0.5, "min": 1.0, "max": 3.0}
    assert first["points"] == {"count": 4, "mean": 3.0, "std": 2**0.5, "min": 1.0, "max": 4.0}
    assert second["values"]["std"] is None
    assert second["filter"] == 'params.lr = "0.01"'
    few = server.ask(f"/api/v1/runs:groups?{asked}&limit=1", token=server.token()).json
    assert (len(few["items"]), few["complete"]) == (1, False)
    for wrong, code in (("group_by=metrics.loss", "bad_filter"), ("", "bad_input"), ("group_by=a.b.c", "bad_filter")):
        refused = server.ask(f"/api/v1/runs:groups?{wrong}", token=server.token())
        assert (refused.status, refused.json["code"]) == (400, code)


@pytest.mark.parametrize("few_runs", [3000, 1])
def test_a_page_of_runs_is_at_most_ten_statements(
    server: Server, monkeypatch: pytest.MonkeyPatch, few_runs: int
) -> None:
    monkeypatch.setattr(candidates, "FEW_RUNS", few_runs)
    for _ in range(3):
        _sweep(server)
    token = server.token("root", "admin")
    for path in PAGES:
        with counted_statements(server) as said:
            assert server.ask(path, token=token).status == 200, path
        assert len(said) <= 10, (path, said)


def test_what_is_found_is_exported_from_the_page(server: Server, visit: Visit) -> None:
    _sweep(server)
    page = visit(server).open("/runs?filter=params.lr+%3D+0.1&state=")
    with page.expect_download() as download:
        page.get_by_role("link", name="All runs as CSV").click()
    assert download.value.path().read_text().count("\n") == 3


def test_a_group_on_the_page_leads_to_its_runs(server: Server, visit: Visit) -> None:
    _sweep(server)
    page = visit(server).open("/runs")
    page.get_by_label("Filter").fill("state = COMPLETED or state = FAILED")
    page.get_by_label("Group by").fill("params.lr")
    page.get_by_label("Metric of groups").fill("loss")
    page.get_by_role("button", name="Show").click()
    groups = page.get_by_role("region", name="Groups of runs")
    expect(groups.get_by_role("row").filter(has_text="0.1")).to_contain_text("1.414")
    expect(groups.get_by_role("link", name="none")).to_be_visible()
    groups.get_by_role("link", name="0.1", exact=True).click()
    expect(page.get_by_role("region", name="Runs").locator("tbody tr")).to_have_count(2)
