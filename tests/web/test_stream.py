"""What changes is told to those who listen, as it changes."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path

from tests.conftest import wait_until
from tracker.settings import Settings
from tracker.store import clusters, tokens
from tracker.store.database import Database
from tracker.store.identity import Identity
from web import create_app
from web.stream.client import MOST_PENDING_BYTES, Client

from . import samples
from .conftest import Listening, Server
from .test_changes import new_run, send


def test_a_run_is_followed_from_its_beginning_to_its_deletion(server: Server, listen: Callable[..., Listening]) -> None:
    client = listen(server)
    assert client.answer.headers["Content-Type"] == "text/event-stream"
    assert client.next()[0] == "ready"
    run = new_run(server, name="followed", experiment="streams")
    told = client.next("run")[1]
    assert (told["id"], told["name"], told["state"]) == (run["id"], "followed", "RUNNING")
    assert told["experiment"] == "streams"
    assert told["started_at"] == run["started_at"]
    assert client.next("series") == ("series", {"run": run["id"]})
    send(server, "POST", f"/runs/{run['id']}/metrics", {"points": [{"metric": "loss", "value": 1}]})
    assert client.next() == ("series", {"run": run["id"]})
    send(server, "PATCH", f"/runs/{run['id']}", {"state": "COMPLETED"})
    assert client.next("run")[1]["state"] == "COMPLETED"
    send(server, "DELETE", f"/runs/{run['id']}")
    assert client.next("run") == ("run", {"id": run["id"], "deleted": True})


def test_nobody_hears_of_runs_of_others(server: Server, listen: Callable[..., Listening]) -> None:
    alice, root = listen(server), listen(server, "root", "admin")
    assert alice.next()[0] == root.next()[0] == "ready"
    with server.database.write() as session:
        foreign = samples.add_run(session, user="bob")
        foreign.updated_at = samples.moment(0)
    assert root.next("run")[1]["id"] == foreign.id
    own = new_run(server)
    assert alice.next("run")[1]["id"] == own["id"]


def test_who_comes_back_is_told_what_was_missed(server: Server, listen: Callable[..., Listening]) -> None:
    first = listen(server)
    first.next("ready")
    first.close()
    run = new_run(server)
    second = listen(server, last_event_id=first.last_id)
    assert second.next("run")[1]["id"] == run["id"]
    third = listen(server, last_event_id="1")
    assert third.next("reset") == ("reset", {})
    assert listen(server, last_event_id="what").next()[0] == "ready"


def test_the_queue_s_news_are_told_to_all(server: Server, listen: Callable[..., Listening]) -> None:
    client = listen(server)
    client.next("ready")
    with server.database.write() as session:
        clusters.get(session, "dev").as_of = samples.moment(0)
    new_run(server)
    assert client.next("jobs")[1]["name"] == "dev"


def test_a_stranger_and_a_head_are_not_fed(server: Server) -> None:
    assert server.ask("/api/v1/stream").status == 401
    headed = server.ask("/api/v1/stream", method="HEAD", token=server.token())
    assert (headed.status, headed.headers["Content-Type"]) == (200, "text/event-stream")
    assert server.ask("/api/v1/stream?x=1", token=server.token()).json["code"] == "bad_input"


def test_a_reader_who_does_not_keep_up_is_let_go() -> None:
    ours, theirs = socket.socketpair()
    client = Client(ours, Identity("alice", "user"), chunked=True, away_since=None)
    piece, sent = b"x" * 10_000, 0
    while client.send(piece) and sent < 1000:
        sent += 1
    assert MOST_PENDING_BYTES / len(piece) <= sent < 1000
    theirs.close()
    assert not client.send(b"more")
    client.close()


def test_where_connections_cannot_be_kept_it_is_said(db: Database) -> None:
    with db.write() as session:
        secret = tokens.create(session, "alice", "user", tokens.API)
    client = create_app(Settings(), db).test_client()
    answer = client.get("/api/v1/stream", headers={"Authorization": f"Bearer {secret}"})
    assert (answer.status_code, answer.json and answer.json["code"]) == (503, "unavailable")
    assert answer.headers["Retry-After"]


def test_streams_take_no_thread_of_the_server_and_are_bounded(
    real_server: tuple[Server, Path], listen: Callable[..., Listening]
) -> None:
    server, log = real_server
    clients = [listen(server, user) for user in ("u1", "u2", "u3", "u4") for _ in range(3)]
    assert {client.next()[0] for client in clients} == {"ready"}
    for user in ("u1", "u5"):
        refused = server.ask("/api/v1/stream", token=server.token(user))
        assert (refused.status, refused.json["code"]) == (503, "unavailable")
        assert refused.headers["Retry-After"]
    run = send(server, "POST", "/runs", {}, server.token("u3")).json
    assert [client.next("run")[1]["id"] for client in clients[6:9]] == [run["id"]] * 3
    clients[0].close()
    wait_until(lambda: _admitted(server, listen))
    told = server.ask("/metrics", token=server.token("root", "admin")).text
    assert 'tracker_http_requests_total{endpoint="api.run_changes.make",method="POST",status="201"} 1.0' in told
    logged = [json.loads(line) for line in log.read_text().splitlines()]
    assert {"POST /api/v1/runs", "GET /readyz"} <= {f"{one['method']} {one['path']}" for one in logged}


def _admitted(server: Server, listen: Callable[..., Listening]) -> bool:
    client = listen(server, "u5")
    return client.answer.status == 200 and client.next()[0] == "ready"
