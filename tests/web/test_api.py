"""The API as programs use it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import quote, urlencode

import pytest
from sqlalchemy import event

from tracker.store import logs, params

from . import samples
from .conftest import Server

RUN_KEYS = [
    "id", "parent_id", "experiment", "name", "user", "state", "state_source", "reason", "explanation",
    "cluster", "job_id", "array_job_id", "array_task_id", "het_job_id", "submitted_at", "started_at", "ended_at",
    "exit_code", "signal", "points_kept",
    "params", "tags", "summary", "attempts",
]  # fmt: skip


def test_a_run_has_the_shape_that_is_promised(server: Server) -> None:
    with server.database.write() as session:
        run = samples.add_run(session, state="COMPLETED", took_s=60, gpus={"n1": [1]}, job_id=12, exit_code=0)
        samples.log(session, run, "loss", [3.0, 1.0, 2.0])
        params.set_params(session, run.id, {"lr": "0.01"})
        params.set_tags(session, run.id, {"stage": "draft"})
    for name in (run.id, "dev:12"):
        told = server.ask(f"/api/v1/runs/{name}", token=server.token()).json
        assert list(told) == [*RUN_KEYS, "waiting", "forecast", "efficiency"]
        assert told["params"] == {"lr": "0.01"}
        assert told["tags"] == {"stage": "draft"}
        assert told["summary"] == {"loss": {"last": 2, "last_step": 2, "min": 1, "max": 3, "mean": 2, "count": 3}}
        (attempt,) = told["attempts"]
        keys = ["number", "started_at", "ended_at", "state", "nodes", "gpu_count", "shards", "suspended_s", "gpus"]
        assert list(attempt) == keys
        held = {"started_at": attempt["started_at"], "ended_at": attempt["ended_at"]}
        assert attempt["gpus"] == [{"node": "n1", "index": 1, "uuid": "GPU-n1-1", "type": "a100", "mig": None, **held}]
        assert told["ended_at"].endswith("Z")


def test_an_array_task_is_found_by_its_name(server: Server) -> None:
    with server.database.write() as session:
        samples.add_run(session, job_id=15, array_job_id=12, array_task_id=3)
    assert server.ask("/api/v1/runs/dev:12_3", token=server.token()).json["job_id"] == 15
    assert server.ask("/api/v1/runs/dev:12_4", token=server.token()).status == 404


def test_numbers_that_are_not_finite_are_words(server: Server) -> None:
    with server.database.write() as session:
        run = samples.add_run(session)
        samples.log(session, run, "loss", [math.inf, -math.inf, math.nan])
    token = server.token()
    summary = server.ask(f"/api/v1/runs/{run.id}", token=token).json["summary"]["loss"]
    assert (summary["last"], summary["min"], summary["mean"], summary["count"]) == ("NaN", None, None, 3)
    series = server.ask(f"/api/v1/runs/{run.id}/series?metric=loss", token=token).json
    assert series == {
        "metric": "loss", "x": [0, 1, 2], "y": ["Infinity", "-Infinity", "NaN"], "count": 3, "downsampled": False,
        "hidden": 0,
    }  # fmt: skip


def test_a_long_series_is_thinned_and_says_so(server: Server) -> None:
    with server.database.write() as session:
        run = samples.add_run(session)
        samples.log(session, run, "loss/train é", [math.sin(step / 50) for step in range(5000)])
    path = f"/api/v1/runs/{run.id}/series?metric={quote('loss/train é')}&x=time&max_points=100"
    series = server.ask(path, token=server.token()).json
    assert series["count"] == 5000
    assert series["downsampled"] is True
    assert len(series["x"]) == len(series["y"]) <= 100
    assert series["x"] == sorted(series["x"])


def test_ranks_and_attempts_of_a_series_are_told_apart(server: Server) -> None:
    with server.database.write() as session:
        run = samples.add_run(session)
        for rank in range(2):
            samples.log(session, run, "loss", [4.0 + rank, 2.0 + rank], rank=rank, node=f"n{rank + 1}", ago_s=100)
            samples.log(session, run, "loss", [1.0 + rank], 1, rank=rank, node=f"n{rank + 1}", restarts=1)
    token = server.token()

    def series(query: str) -> dict:
        return server.ask(f"/api/v1/runs/{run.id}/series?metric=loss&{query}", token=token).json

    base = {"metric": "loss", "x": [0, 1], "y": [4, 1], "count": 2, "downsampled": False, "hidden": 1}
    assert series("") == series("rank=0&attempts=last") == base
    assert series("rank=1")["y"] == [5, 2]
    line = {"rank": 0, "attempt": 2, "node": "n1", "x": [0, 1], "y": [4, 1], "count": 2}
    other = {"rank": 1, "attempt": 2, "node": "n2", "x": [0, 1], "y": [5, 2], "count": 2}
    assert series("rank=all") == base | {"hidden": 2, "lines": [line, other], "lines_left_out": 0}
    assert series("rank=mean") == base | {"y": [4.5, 1.5], "hidden": 2, "min": [4, 1], "max": [5, 2], "ranks": 2}
    apart = series("rank=0&attempts=all")
    assert (apart["x"], apart["y"], apart["count"], apart["hidden"]) == ([0, 1, 1], [4, 2, 1], 3, 0)
    assert [(one["attempt"], one["x"], one["y"]) for one in apart["lines"]] == [(1, [0, 1], [4, 2]), (2, [1], [1])]
    newest = series("rank=mean&attempts=all")["lines"][-1]
    mean = {"rank": None, "attempt": 2, "node": None, "x": [1], "y": [1.5], "min": [1], "max": [2], "count": 1}
    assert newest == mean
    assert server.ask(f"/api/v1/runs/{run.id}/series?metric=loss&rank=5", token=token).status == 404


def test_a_mean_of_what_is_no_number_is_a_word(server: Server) -> None:
    with server.database.write() as session:
        run = samples.add_run(session)
        for rank in range(2):
            samples.log(session, run, "loss", [math.nan, float(rank), math.inf], rank=rank)
    path = f"/api/v1/runs/{run.id}/series?metric=loss&rank=mean"
    told = server.ask(path, token=server.token()).json
    assert (told["y"], told["min"], told["max"]) == (["NaN", 0.5, "NaN"], ["NaN", 0, "NaN"], ["NaN", 1, "NaN"])


def test_a_cursor_leads_through_all_runs_once(server: Server) -> None:
    with server.database.write() as session:
        made = [samples.add_run(session, age_s=600 - index).id for index in range(7)]
    token, seen, cursor = server.token(), [], ""
    while cursor is not None:
        page = server.ask(f"/api/v1/runs?limit=3&cursor={cursor}", token=token).json
        seen += [run["id"] for run in page["items"]]
        cursor = page["next_cursor"]
    assert seen == made[::-1]


def test_runs_are_found_by_what_is_asked(server: Server) -> None:
    with server.database.write() as session:
        samples.add_run(session, name="Baseline", experiment="mnist", job_id=77)
        samples.add_run(session, name="other", experiment="a b", state="FAILED", took_s=5)
        samples.add_run(session, name="third", state="PENDING")
    token = server.token()

    def names(query: str) -> list[str]:
        return sorted(run["name"] for run in server.ask(f"/api/v1/runs?{query}", token=token).json["items"])

    assert names("q=base") == ["Baseline"]
    assert names("q=77") == ["Baseline"]
    assert names("experiment=a%20b") == ["other"]
    assert names("state=FAILED&state=PENDING") == ["other", "third"]
    assert names("user=nobody") == []


@pytest.mark.parametrize(
    ("path", "word"),
    [
        ("/api/v1/runs?colour=red", "colour"),
        ("/api/v1/runs?limit=0", "limit"),
        ("/api/v1/runs?limit=many", "limit"),
        ("/api/v1/runs?state=SLEEPING", "state"),
        ("/api/v1/runs?cursor=bm8", "cursor"),
        ("/api/v1/runs?cursor=WzEsICJcdTAwMDAiXQ", "cursor"),  # a NUL inside
        ("/api/v1/runs?cursor=WzFlOTksICJhIl0", "cursor"),  # a time beyond all time
        ("/api/v1/runs?q=%00", "q"),
        ("/api/v1/jobs?limit=-1", "limit"),
        ("/api/v1/nodes?x=1", "x"),
        ("/api/v1/runs/dev:1/series", "metric"),
        ("/api/v1/runs/dev:1/series?metric=a&x=colour", "x"),
        ("/api/v1/runs/dev:1/series?metric=a&rank=-1", "rank"),
        ("/api/v1/runs/dev:1/series?metric=a&rank=some", "rank"),
        ("/api/v1/runs/dev:1/series?metric=a&attempts=some", "attempts"),
        ("/api/v1/runs/dev:1/log?stream=stdin", "stream"),
    ],
)
def test_a_bad_question_is_told_what_is_bad(server: Server, path: str, word: str) -> None:
    answer = server.ask(path, token=server.token())
    assert answer.status == 400
    assert answer.json["code"] == "bad_input"
    assert word in answer.json["detail"]


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/api/v1/nothing", 404, "not_found"),
        ("GET", "/api/v1/runs/dev:99", 404, "not_found"),
        ("GET", "/api/v1/runs/%00", 404, "not_found"),
        ("GET", "/api/v1/runs/" + "9" * 300, 404, "not_found"),
        ("GET", "/api/v1/runs/dev:1%00:1", 404, "not_found"),
        ("POST", "/api/v1/nodes", 405, "method_not_allowed"),
    ],
)
def test_an_error_is_a_problem_document(server: Server, method: str, path: str, status: int, code: str) -> None:
    answer = server.ask(path, method=method, token=server.token(), body=b"" if method == "POST" else None)
    assert answer.status == status
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert (answer.json["status"], answer.json["code"]) == (status, code)
    assert "Traceback" not in answer.text


def test_nobody_sees_or_changes_runs_of_others(server: Server) -> None:
    with server.database.write() as session:
        run = samples.add_run(session, user="bob", state="COMPLETED", took_s=5)
        samples.log(session, run, "loss", [1.0])
    alice, root = server.token("alice"), server.token("root", "admin")
    path = f"/api/v1/runs/{run.id}"
    assert server.ask("/api/v1/runs", token=alice).json["items"] == []
    assert server.ask("/api/v1/experiments", token=alice).json["items"] == []
    for tail in ("", "/series?metric=loss", "/log"):
        assert server.ask(path + tail, token=alice).status == 404
    assert server.ask(path, method="PATCH", token=alice, body=b'{"name":"mine"}').status == 404
    assert server.ask(path, method="DELETE", token=alice).status == 404
    assert server.ask(path, token=root).json["name"] == "train"


def test_a_run_gets_another_name_and_tags(server: Server) -> None:
    with server.database.write() as session:
        run = samples.add_run(session)
        params.set_tags(session, run.id, {"stage": "draft", "kept": "yes"})
    body = json.dumps({"name": "better", "tags": {"stage": "final"}}).encode()
    told = server.ask(f"/api/v1/runs/{run.id}", method="PATCH", token=server.token(), body=body).json
    assert (told["name"], told["tags"]) == ("better", {"kept": "yes", "stage": "final"})


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b'{"state":"COMPLETED"}', b'{"name":5}', b'{"name":"\\u0000"}', b'{"tags":{"":"x"}}',
     b'{"name":"\\ud800"}', b"\xff\xfe", b'{"tags":' + b"[" * 5000, b'{"name":"' + b"x" * 5000 + b'"}'],
)  # fmt: skip
def test_a_bad_change_changes_nothing(server: Server, body: bytes) -> None:
    with server.database.write() as session:
        run = samples.add_run(session)
    answer = server.ask(f"/api/v1/runs/{run.id}", method="PATCH", token=server.token(), body=body)
    assert (answer.status, answer.json["code"]) == (400, "bad_input")
    assert server.ask(f"/api/v1/runs/{run.id}", token=server.token()).json["name"] == "train"


def test_a_body_beyond_the_limit_is_refused(server: Server) -> None:
    with server.database.write() as session:
        run = samples.add_run(session)
    body = b'{"name":"' + b"x" * 1024 * 1024 + b'"}'
    answer = server.ask(f"/api/v1/runs/{run.id}", method="PATCH", token=server.token(), body=body)
    assert (answer.status, answer.json["code"]) == (413, "too_large")


def test_an_ended_run_can_be_deleted_and_a_running_one_not(server: Server) -> None:
    with server.database.write() as session:
        ended = samples.add_run(session, state="COMPLETED", took_s=5, gpus={"n1": [0]})
        samples.curves(session, ended, 20)
        running = samples.add_run(session)
    token = server.token()
    assert server.ask(f"/api/v1/runs/{ended.id}", method="DELETE", token=token).status == 204
    assert server.ask(f"/api/v1/runs/{ended.id}", token=token).status == 404
    refused = server.ask(f"/api/v1/runs/{running.id}", method="DELETE", token=token)
    assert (refused.status, refused.json["code"]) == (409, "conflict")


def test_the_end_of_the_output_is_read(server: Server) -> None:
    with server.database.write() as session:
        run = samples.add_run(session)
        samples.print_output(session, run, "one\ntwo\nthree\n")
    told = server.ask(f"/api/v1/runs/{run.id}/log?tail=2", token=server.token()).json
    assert (told["text"], told["truncated"], told["complete"]) == ("two\nthree\n", True, False)
    assert server.ask(f"/api/v1/runs/{run.id}/log?stream=stderr", token=server.token()).status == 404
    with server.database.read() as session:
        assert [log.stream for log in logs.ends(session, run.id, 0)[0]] == ["stdout"]


def test_the_output_is_also_there_as_plain_text(server: Server) -> None:
    with server.database.write() as session:
        run = samples.add_run(session)
        samples.print_output(session, run, "\x1b[31mone\x1b[0m\n<b> 5%\r<b>10%\n")
    told = server.ask(f"/api/v1/runs/{run.id}/log?format=text", token=server.token())
    assert (told.text, told.headers["Content-Type"]) == ("one\n<b>10%\n", "text/plain; charset=utf-8")


def test_the_queue_and_the_nodes_say_how_old_they_are(server: Server) -> None:
    with server.database.write() as session:
        shown = samples.busy_afternoon(session)
    token = server.token("root", "admin")
    jobs = server.ask("/api/v1/jobs", token=token).json
    assert {run["state"] for run in jobs["items"]} == {"PENDING", "RUNNING"}
    assert shown["running"].id in {run["id"] for run in jobs["items"]}
    nodes = server.ask("/api/v1/nodes", token=token).json
    assert [node["name"] for node in nodes["items"]] == ["n1", "n2", "n3"]
    assert nodes["items"][0]["gpus_used"] == 4
    assert nodes["as_of"] == jobs["as_of"] == nodes["clusters"][0]["as_of"]


def test_who_has_the_newest_already_gets_nothing_again(server: Server) -> None:
    with server.database.write() as session:
        run = samples.add_run(session)
    token, path = server.token(), f"/api/v1/runs/{run.id}"
    first = server.ask(path, token=token)
    again = server.ask(path, token=token, If_None_Match=first.headers["ETag"])
    assert (again.status, again.body) == (304, b"")


@contextmanager
def counted_statements(server: Server) -> Iterator[list[str]]:
    """What is said to the database meanwhile."""
    said: list[str] = []

    def hear(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if not statement.startswith("BEGIN"):
            said.append(statement)

    event.listen(server.database.engine, "before_cursor_execute", hear)
    yield said
    event.remove(server.database.engine, "before_cursor_execute", hear)


@pytest.mark.parametrize(
    "path",
    ["/", "/runs", "/runs/{run}", "/experiments", "/cluster", "/api/v1/runs", "/api/v1/runs/{run}", "/api/v1/jobs"],
)
def test_no_page_says_more_to_the_database_when_there_is_more(server: Server, path: str) -> None:
    with server.database.write() as session:
        run = samples.busy_afternoon(session)["running"]
    token = server.token("root", "admin")
    with counted_statements(server) as few:
        assert server.ask(path.format(run=run.id), token=token).status == 200
    with server.database.write() as session:
        for _ in range(3):
            samples.busy_afternoon(session)
    with counted_statements(server) as many:
        assert server.ask(path.format(run=run.id), token=token).status == 200
    assert len(many) == len(few) <= 14


def test_no_request_says_more_than_ten_things_to_the_database(server: Server) -> None:
    with server.database.write() as session:
        samples.busy_afternoon(session)
        ended = [samples.add_run(session, state="COMPLETED", took_s=5).id for _ in range(100)]
    token = server.token("root", "admin")

    def ask(method: str, path: str, body: object = None) -> dict:
        raw = None if body is None else json.dumps(body).encode()
        with counted_statements(server) as said:
            answer = server.ask(f"/api/v1{path}", method=method, token=token, body=raw)
        assert answer.status < 300, answer.text
        # One of them says who asks. Savepoints and what is told to listeners are no questions.
        asked = [one for one in said if not one.startswith(("SAVEPOINT", "RELEASE", "NOTIFY"))]
        assert len(asked) <= 10 + (method != "GET") * 10, (method, path, asked)
        return answer.json if answer.body else {}

    for path in ("/experiments", "/runs?limit=100", "/jobs", "/nodes", f"/runs/{ended[0]}", "/runs/dev:4711/log",
                 "/runs/dev:4711/series?metric=loss", "/runs/dev:4711/media", "/runs/dev:4711/artifacts"):  # fmt: skip
        ask("GET", path)
    run = ask("POST", "/runs", {"params": {f"p{number}": "1" for number in range(100)}})
    points = [{"metric": f"m{number % 20}", "value": number} for number in range(1000)]
    ask("POST", f"/runs/{run['id']}/metrics", {"points": points})
    ask("PATCH", f"/runs/{run['id']}", {"state": "FAILED", "tags": {"a": "b"}, "params": {"p1": None}})
    ask("PATCH", "/runs", {"ids": ended, "tags": {"a": "b", "c": "d"}})
    ask("POST", "/runs:delete", {"ids": [*ended, run["id"]]})


def test_runs_are_found_and_sorted_by_what_they_logged(server: Server) -> None:
    with server.database.write() as session:
        for name, loss in (("good", 0.1), ("bad", 0.9), ("better", 0.05)):
            samples.log(session, samples.add_run(session, name=name), "loss", [1.0, loss])
        samples.add_run(session, name="silent")
    token = server.token()
    asked = urlencode({"filter": "metrics.loss < 0.5 and state = RUNNING", "order_by": "metrics.loss desc", "limit": 1})
    first = server.ask(f"/api/v1/runs?{asked}", token=token).json
    second = server.ask(f"/api/v1/runs?{asked}&cursor={first['next_cursor']}", token=token).json
    assert [run["name"] for page in (first, second) for run in page["items"]] == ["good", "better"]
    assert second["next_cursor"] is None


def test_a_filter_that_cannot_be_read_is_answered_with_the_column(server: Server) -> None:
    refused = server.ask(f"/api/v1/runs?{urlencode({'filter': 'metrics.loss <'})}", token=server.token())
    assert (refused.status, refused.json["code"]) == (400, "bad_filter")
    assert refused.json["detail"].startswith("At column 15: expected a value such as 0.3")
