"""A run's points are thinned and dropped when its experiment says so, and it goes when somebody deletes it."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from urllib.parse import quote

from tracker.actions.prune import Pruned, prune
from tracker.settings import Settings
from tracker.store.tables import Run

from .conftest import Server
from .test_changes import new_run, send

NOW = datetime.now(timezone.utc)
POINTS = 5000


def _pruned(server: Server, days: int) -> Pruned:
    return prune(server.database, Settings(), NOW + timedelta(days=days), dry_run=False, report=lambda *_: None)


def test_from_all_points_to_nothing(server: Server) -> None:
    run, kept = new_run(server, experiment="sweep"), new_run(server, experiment="paper")
    points = [{"metric": "loss", "value": (-1) ** step * step} for step in range(POINTS)]
    for one in (run, kept):
        send(server, "POST", f"/runs/{one['id']}/metrics", {"points": points})
        send(server, "PATCH", f"/runs/{one['id']}", {"state": "COMPLETED"})
    summary = send(server, "GET", f"/runs/{run['id']}").json["summary"]
    (sweep,) = (one for one in send(server, "GET", "/experiments").json["items"] if one["name"] == "sweep")
    days = {"thin_points_after_days": 2, "drop_points_after_days": 10}
    told = send(server, "PATCH", f"/experiments/{sweep['id']}", days, server.token("root", "admin")).json
    assert days.items() <= told.items()

    assert _pruned(server, 1) == Pruned()
    assert _pruned(server, 3).thinned_runs == 1
    series = send(server, "GET", f"/runs/{run['id']}/series?metric=loss&max_points=10000").json
    assert len(series["x"]) == 1000
    assert {POINTS - 2, 1 - POINTS} <= {*series["y"]}
    now = send(server, "GET", f"/runs/{run['id']}").json
    assert (now["points_kept"], now["summary"]) == ("thinned", summary)

    assert _pruned(server, 11).dropped_runs == 1
    gone = send(server, "GET", f"/runs/{run['id']}/series?metric=loss")
    assert (gone.status, "its summaries are" in gone.json["detail"]) == (404, True)
    now = send(server, "GET", f"/runs/{run['id']}").json
    assert (now["points_kept"], now["summary"]) == ("none", summary)
    found = send(server, "GET", f"/runs?filter={quote(f'max(metrics.loss) >= {POINTS - 2}')}").json["items"]
    assert {one["id"] for one in found} == {run["id"], kept["id"]}
    assert send(server, "GET", f"/runs/{kept['id']}/series?metric=loss").json["count"] == POINTS

    assert send(server, "DELETE", f"/runs/{run['id']}").status == 204
    assert send(server, "GET", f"/runs/{run['id']}").status == 404
    for days_after, is_there in ((29, True), (31, False)):
        _pruned(server, days_after)
        with server.database.read() as session:
            assert (session.get(Run, run["id"]) is not None) == is_there
