"""Programs make, change and delete runs and experiments, and send points."""

from __future__ import annotations

import json
import threading
import uuid
from typing import Any

from tracker.store import params, retention

from . import samples
from .conftest import Answer, Server


def send(server: Server, method: str, path: str, body: Any = None, token: str | None = None) -> Answer:
    """Ask with a body of JSON, as alice unless another token is given."""
    raw = None if body is None else json.dumps(body).encode()
    return server.ask(f"/api/v1{path}", method=method, token=token or server.token(), body=raw)


def new_run(server: Server, **facts: Any) -> dict:
    answer = send(server, "POST", "/runs", facts)
    assert answer.status == 201, answer.text
    return answer.json


def test_a_run_outside_slurm_is_made_logged_to_and_ended(server: Server) -> None:
    answer = send(server, "POST", "/runs", {"experiment": "by hand", "name": "first", "params": {"lr": "0.1"}})
    run = answer.json
    assert answer.headers["Location"] == f"/api/v1/runs/{run['id']}"
    assert (run["user"], run["state"], run["experiment"], run["params"]) == (
        "alice",
        "RUNNING",
        "by hand",
        {"lr": "0.1"},
    )
    points = [{"metric": "loss", "value": 3.0 - step} for step in range(3)]
    points.append({"metric": "acc", "value": "NaN", "step": 7, "time": "2026-01-31T14:00:00.5+01:00"})
    assert send(server, "POST", f"/runs/{run['id']}/metrics", {"points": points}).json == {"stored": 4, "offset": 4}
    more = {"points": [{"metric": "loss", "value": 0.5}]}
    assert send(server, "POST", f"/runs/{run['id']}/metrics", more).json == {"stored": 1, "offset": 5}
    series = send(server, "GET", f"/runs/{run['id']}/series?metric=loss").json
    assert (series["x"], series["y"]) == ([0, 1, 2, 8], [3, 2, 1, 0.5])
    assert send(server, "GET", f"/runs/{run['id']}/series?metric=acc&x=time").json["x"] == [1769864400.5]
    ended = send(server, "PATCH", f"/runs/{run['id']}", {"state": "COMPLETED", "reason": "enough"}).json
    assert (ended["state"], ended["reason"]) == ("COMPLETED", "enough")
    assert ended["ended_at"] >= ended["started_at"]


def test_points_that_are_sent_again_are_there_once(server: Server) -> None:
    run = new_run(server)
    path = f"/runs/{run['id']}/metrics"
    points = [{"metric": "loss", "value": float(step), "step": step} for step in range(10)]
    assert send(server, "POST", path, {"points": points[:6], "offset": 0}).json == {"stored": 6, "offset": 6}
    assert send(server, "POST", path, {"points": points[:6], "offset": 0}).json == {"stored": 0, "offset": 6}
    assert send(server, "POST", path, {"points": points[4:], "offset": 4}).json == {"stored": 4, "offset": 10}
    gap = send(server, "POST", path, {"points": points[:1], "offset": 11})
    assert (gap.status, gap.json["code"]) == (409, "conflict")
    assert "10 points" in gap.json["detail"]
    other = send(server, "POST", path, {"points": points[:1], "offset": 0, "writer": "notebook-2"})
    assert other.json == {"stored": 1, "offset": 1}
    assert send(server, "GET", f"/runs/{run['id']}").json["summary"]["loss"]["count"] == 11


BAD_POINTS: list[dict[str, Any]] = [
    {"metric": "loss", "value": "many"}, {"metric": "loss", "value": True}, {"metric": "loss"}, {"value": 1},
    {"metric": "loss", "value": 1, "step": 2**63}, {"metric": "loss", "value": 1, "step": -(2**63) - 1},
    {"metric": "loss", "value": 1, "step": "3"}, {"metric": "loss", "value": 1, "step": 0.5},
    {"metric": "loss", "value": 1, "time": "10000-01-01T00:00:00Z"}, {"metric": "loss", "value": 1, "time": 5},
    {"metric": "loss", "value": 1, "time": "1969-12-31T23:59:59Z"}, {"metric": "loss", "value": 1, "x": 1},
    {"metric": "loss", "value": 1, "time": "2026-02-30T00:00:00Z"}, {"metric": "a\nb", "value": 1},
    {"metric": "x" * 513, "value": 1}, {"metric": "", "value": 1}, {"metric": "\u0000", "value": 1},
    {"metric": "loss", "value": 10**400},
]  # fmt: skip


def test_of_points_with_a_bad_one_none_is_stored(server: Server) -> None:
    run = new_run(server)
    for bad in BAD_POINTS:
        points = {"points": [{"metric": "ok", "value": 1}, bad]}
        refused = send(server, "POST", f"/runs/{run['id']}/metrics", points)
        assert (refused.status, refused.json["code"]) == (400, "bad_input"), bad
        assert "points.1" in refused.json["detail"]
    assert send(server, "GET", f"/runs/{run['id']}").json["summary"] == {}


def test_more_metrics_than_a_run_may_have_are_refused_as_a_whole(server: Server) -> None:
    run = new_run(server)
    points = [{"metric": f"m{number}", "value": 1} for number in range(2001)]
    refused = send(server, "POST", f"/runs/{run['id']}/metrics", {"points": points})
    assert (refused.status, refused.json["code"]) == (400, "bad_input")
    assert send(server, "GET", f"/runs/{run['id']}").json["summary"] == {}


def test_a_run_that_is_made_twice_is_one(server: Server) -> None:
    ident = str(uuid.uuid4())
    assert new_run(server, id=ident)["id"] == ident
    again = send(server, "POST", "/runs", {"id": ident})
    assert (again.status, again.json["code"]) == (409, "conflict")
    assert len(send(server, "GET", "/runs").json["items"]) == 1


def test_params_and_tags_are_set_and_taken_away(server: Server) -> None:
    run = new_run(server, params={"lr": "0.1", "seed": "1"}, tags={"stage": "draft", "kept": "yes"})
    change = {"params": {"lr": "0.2", "seed": None}, "tags": {"stage": None, "new": "é"}, "experiment": "moved"}
    told = send(server, "PATCH", f"/runs/{run['id']}", change).json
    assert (told["params"], told["tags"], told["experiment"]) == ({"lr": "0.2"}, {"kept": "yes", "new": "é"}, "moved")


def test_how_a_job_ends_is_told_by_slurm_alone(server: Server) -> None:
    with server.database.write() as session:
        run = samples.add_run(session)
    refused = send(server, "PATCH", f"/runs/{run.id}", {"state": "COMPLETED", "name": "not"})
    assert (refused.status, refused.json["code"]) == (400, "bad_input")
    told = send(server, "GET", f"/runs/{run.id}").json
    assert (told["state"], told["name"]) == ("RUNNING", "train")


def test_many_runs_are_changed_and_deleted_together_or_not_at_all(server: Server) -> None:
    with server.database.write() as session:
        mine = [samples.add_run(session, state="COMPLETED", took_s=5).id for _ in range(3)]
        live = samples.add_run(session).id
        foreign = samples.add_run(session, user="bob", state="COMPLETED", took_s=5).id
        params.set_tags(session, mine[0], {"old": "1"})
    change = {"tags": {"old": None, "paper": "yes"}, "experiment": "paper"}
    assert send(server, "PATCH", "/runs", {"ids": mine, **change}).json == {"count": 3}
    found = send(server, "GET", "/runs?experiment=paper").json["items"]
    assert [run["tags"] for run in found] == [{"paper": "yes"}] * 3
    assert send(server, "PATCH", "/runs", {"ids": [*mine, foreign], "name": "x"}).status == 404
    assert send(server, "POST", "/runs:delete", {"ids": [*mine, foreign]}).status == 404
    assert send(server, "POST", "/runs:delete", {"ids": [*mine, live]}).status == 409
    assert {run["name"] for run in send(server, "GET", "/runs").json["items"]} == {"train"}
    assert send(server, "POST", "/runs:delete", {"ids": mine}).json == {"count": 3}
    assert [run["id"] for run in send(server, "GET", "/runs").json["items"]] == [live]
    assert send(server, "POST", "/runs:delete", {"ids": mine}).status == 404


def test_runs_that_many_delete_at_once_are_deleted_once(server: Server) -> None:
    run = new_run(server)
    send(server, "PATCH", f"/runs/{run['id']}", {"state": "FAILED"})
    token, answers = server.token(), []

    def delete() -> None:
        answers.append(send(server, "DELETE", f"/runs/{run['id']}", token=token).status)

    threads = [threading.Thread(target=delete) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [204, 404, 404, 404, 404, 404]


def test_an_experiment_is_made_named_again_and_deleted(server: Server) -> None:
    made = send(server, "POST", "/experiments", {"name": "sweep"})
    path = f"/experiments/{made.json['id']}"
    assert (made.status, made.headers["Location"]) == (201, f"/api/v1{path}")
    assert (made.json["name"], made.json["run_count"], made.json["last_run_at"]) == ("sweep", 0, None)
    assert send(server, "POST", "/experiments", {"name": "sweep"}).json["code"] == "conflict"
    run = new_run(server, experiment="sweep")
    assert send(server, "PATCH", path, {"name": "sweep of lr"}).json["run_count"] == 1
    assert send(server, "GET", f"/runs/{run['id']}").json["experiment"] == "sweep of lr"
    assert send(server, "DELETE", path).json["code"] == "conflict"
    send(server, "PATCH", f"/runs/{run['id']}", {"state": "COMPLETED"})
    assert send(server, "DELETE", path).status == 204
    assert send(server, "GET", path).status == 404
    assert send(server, "GET", f"/runs/{run['id']}").status == 404
    assert send(server, "GET", "/experiments").json["items"] == []
    new_run(server, experiment="sweep of lr")
    assert send(server, "GET", path).json["run_count"] == 1


def test_an_experiment_with_runs_of_others_is_theirs_too(server: Server) -> None:
    with server.database.write() as session:
        samples.add_run(session, state="COMPLETED", took_s=5)
        foreign = samples.add_run(session, user="bob", state="COMPLETED", took_s=5)
    bob, root = server.token("bob"), server.token("root", "admin")
    (mnist,) = send(server, "GET", "/experiments").json["items"]
    assert mnist["run_count"] == 1
    path = f"/experiments/{mnist['id']}"
    assert send(server, "PATCH", path, {"name": "mine"}).json["code"] == "forbidden"
    assert send(server, "DELETE", path).json["code"] == "forbidden"
    assert send(server, "GET", f"/runs/{foreign.id}", token=bob).status == 200
    assert send(server, "PATCH", path, {"name": "digits"}, root).json["run_count"] == 2
    carol = server.token("carol")
    assert send(server, "GET", path, token=carol).status == 404
    assert send(server, "DELETE", path, token=carol).status == 404


def test_experiments_come_in_pages(server: Server) -> None:
    names = [f"e{number}" for number in range(5)]
    for name in names:
        send(server, "POST", "/experiments", {"name": name})
    seen, cursor = [], ""
    while cursor is not None:
        page = send(server, "GET", f"/experiments?limit=2{cursor and '&cursor=' + cursor}").json
        seen += [one["name"] for one in page["items"]]
        cursor = page["next_cursor"]
    assert seen == names[::-1]
    for bad in ("bm8", "WzEsMV0", "WzFlOTksICJhIl0", "IltdIg"):
        assert send(server, "GET", f"/experiments?cursor={bad}").json["code"] == "bad_input"


def test_an_agent_makes_nothing(server: Server) -> None:
    node = server.token("n1", "node", "node")
    assert send(server, "POST", "/runs", {}, node).json["code"] == "forbidden"
    assert send(server, "POST", "/experiments", {"name": "x"}, node).json["code"] == "forbidden"


def test_nobody_changes_what_is_of_others(server: Server) -> None:
    with server.database.write() as session:
        run = samples.add_run(session, user="bob", state="COMPLETED", took_s=5)
    point = {"points": [{"metric": "loss", "value": 1}]}
    for method, path, body in (
        ("POST", f"/runs/{run.id}/metrics", point), ("PATCH", f"/runs/{run.id}", {"tags": {"a": "b"}}),
        ("PATCH", "/runs", {"ids": [run.id], "name": "x"}), ("POST", "/runs:delete", {"ids": [run.id]}),
    ):  # fmt: skip
        assert send(server, method, path, body).status == 404
    assert send(server, "GET", f"/runs/{run.id}", token=server.token("bob")).json["summary"] == {}


def test_how_long_points_stay_is_said_by_administrators_and_seen_by_all(server: Server) -> None:
    new_run(server, experiment="sweep")
    (sweep,) = send(server, "GET", "/experiments").json["items"]
    assert (sweep["thin_points_after_days"], sweep["drop_points_after_days"]) == (None, None)
    path, root = f"/experiments/{sweep['id']}", server.token("root", "admin")
    refused = send(server, "PATCH", path, {"name": "renamed", "thin_points_after_days": 1})
    assert (refused.status, refused.json["code"]) == (403, "forbidden")
    told = send(server, "PATCH", path, {"thin_points_after_days": 30, "drop_points_after_days": 365}, root).json
    assert (told["name"], told["thin_points_after_days"], told["drop_points_after_days"]) == ("sweep", 30, 365)
    assert "thinned after 30 days, dropped after 365 days" in server.ask("/experiments", token=root).text
    with server.database.read() as session:
        assert retention.rules(session) == [retention.Rule("sweep", 30, 365)]
    told = send(server, "PATCH", path, {"thin_points_after_days": None, "name": "wide"}, root).json
    assert (told["name"], told["thin_points_after_days"], told["drop_points_after_days"]) == ("wide", None, 365)
    for days in (-1, 36_501, 1.5, True, "x"):
        assert send(server, "PATCH", path, {"drop_points_after_days": days}, root).json["code"] == "bad_input", days
    assert send(server, "GET", path).json["drop_points_after_days"] == 365
    assert send(server, "PATCH", "/experiments/none", {"drop_points_after_days": 1}).status == 404
