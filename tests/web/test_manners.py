"""How the server answers, whatever it answers: packed, named, counted, within limits."""

from __future__ import annotations

import gzip
import json
import logging
from collections.abc import Iterator

import pytest
import zstandard
from flask.testing import FlaskClient

from tracker.errors import BadInput
from tracker.settings import Settings
from tracker.store import tokens
from tracker.store.database import Database
from web import create_app
from web.logs import JsonLines

from . import samples
from .conftest import Server


def asking(db: Database, user: str = "alice", role: str = "user", **settings: str) -> FlaskClient:
    """A client of a server with these settings, with a token."""
    with db.write() as session:
        secret = tokens.create(session, user, role, tokens.API)
    client = create_app(Settings(**settings), db).test_client()
    client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {secret}"
    return client


@pytest.mark.parametrize(("way", "unpack"), [("zstd", zstandard.decompress), ("gzip", gzip.decompress)])
def test_long_answers_are_packed_for_those_who_take_it(server: Server, way: str, unpack: object) -> None:
    with server.database.write() as session:
        samples.busy_afternoon(session)
    token = server.token("root", "admin")
    plain = server.ask("/api/v1/runs", token=token)
    packed = server.ask("/api/v1/runs", token=token, Accept_Encoding=f"br, {way}")
    assert packed.headers["Content-Encoding"] == way
    assert len(packed.body) < len(plain.body) / 3
    assert unpack(packed.body) == plain.body  # type: ignore[operator]
    assert packed.headers["ETag"] == plain.headers["ETag"]
    assert packed.headers["ETag"].startswith("W/")
    assert "Accept-Encoding" in plain.headers["Vary"]
    again = server.ask("/api/v1/runs", token=token, Accept_Encoding=way, If_None_Match=packed.headers["ETag"])
    assert (again.status, again.body) == (304, b"")
    assert server.ask("/healthz", Accept_Encoding=way).headers["Content-Encoding"] is None


def test_a_request_keeps_its_name_if_that_is_sane(server: Server) -> None:
    kept = server.ask("/api/v1/nothing", token=server.token(), X_Request_ID="proxy-1:42")
    assert (kept.headers["X-Request-ID"], kept.json["request_id"]) == ("proxy-1:42", "proxy-1:42")
    for insane in ("a b", "x" * 65, '"}', "é"):
        given = server.ask("/healthz", X_Request_ID=insane).headers["X-Request-ID"]
        assert len(given) == 16
        assert given != insane


@pytest.fixture
def log_lines() -> Iterator[list[str]]:
    """The lines that the server would log."""
    lines: list[str] = []

    class Kept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(self.format(record))

    handler, log = Kept(), logging.getLogger("tracker")
    handler.setFormatter(JsonLines())
    log.addHandler(handler)
    logging.getLogger("tracker.requests").setLevel(logging.INFO)
    yield lines
    logging.getLogger("tracker.requests").setLevel(logging.NOTSET)
    log.removeHandler(handler)


def test_a_request_is_one_line_that_nobody_can_forge(db: Database, log_lines: list[str]) -> None:
    client = asking(db, user='eve\n{"status": 200}')
    client.get('/api/v1/runs/a%0d%0a{"user": "root"}\u2028x?token=secret', headers={"X-Request-ID": "mine"})
    (line,) = log_lines
    told = json.loads(line)
    assert "\n" not in line and "\u2028" not in line and "secret" not in line
    assert (told["request_id"], told["method"], told["status"]) == ("mine", "GET", 400)
    assert told["user"] == 'eve\n{"status": 200}'
    assert told["path"].startswith("/api/v1/runs/a\r\n")


def test_a_mistake_is_logged_with_the_request_that_showed_it(db: Database, log_lines: list[str]) -> None:
    client = asking(db)

    def broken() -> None:
        raise RuntimeError("no\nway")

    client.application.view_functions["api.cluster.nodes"] = broken
    answer = client.get("/api/v1/nodes", headers={"X-Request-ID": "r1"})
    assert (answer.status_code, answer.json and answer.json["code"]) == (500, "internal")
    failed, ended = map(json.loads, log_lines)
    assert (failed["request_id"], failed["path"]) == ("r1", "/api/v1/nodes")
    assert "RuntimeError" in failed["traceback"]
    assert ended["status"] == 500


def test_who_asks_too_much_waits_and_others_do_not(db: Database) -> None:
    application = asking(db, rate_limit="3/minute").application
    with db.write() as session:
        secrets = [tokens.create(session, user, "user", tokens.API) for user in ("alice", "alice", "bob")]
    client = application.test_client()

    def status(secret: str) -> int:
        return client.get("/api/v1/nodes", headers={"Authorization": f"Bearer {secret}"}).status_code

    assert [status(secrets[0]), status(secrets[1]), status(secrets[0])] == [200, 200, 200]
    refused = client.get("/api/v1/nodes", headers={"Authorization": f"Bearer {secrets[1]}"})
    assert (refused.status_code, refused.json and refused.json["code"]) == (429, "too_many_requests")
    assert 1 <= int(refused.headers["Retry-After"]) <= 60
    assert status(secrets[2]) == 200
    assert client.get("/healthz").status_code == 200


def test_agents_deliver_as_much_as_they_must(db: Database) -> None:
    client = asking(db, "n1", "node", rate_limit="1/minute")
    assert [client.post("/api/v1/ingest", data=b"").status_code for _ in range(3)] == [400, 400, 400]


def test_a_limit_that_is_none_is_told_at_the_start(db: Database) -> None:
    for settings in ({"rate_limit": "many"}, {"rate_limit_storage": "nowhere://"}):
        with pytest.raises(BadInput, match="rate_limit"):
            create_app(Settings(**settings), db)  # type: ignore[arg-type]


def test_pages_of_chosen_sites_may_read_the_api(db: Database) -> None:
    client = asking(db, cors_origins="https://lab.example.org https://b.example.org")
    wish = {"Access-Control-Request-Method": "PATCH", "Access-Control-Request-Headers": "authorization"}
    for origin, allowed in (("https://lab.example.org", True), ("https://lab.example.org.evil.com", False),
                            ("https://labxexample.org", False), ("null", False)):  # fmt: skip
        asked = client.options("/api/v1/runs/dev:1", headers={"Origin": origin, **wish})
        got = client.get("/api/v1/nodes", headers={"Origin": origin})
        assert asked.headers.get("Access-Control-Allow-Origin") == (origin if allowed else None)
        assert got.headers.get("Access-Control-Allow-Origin") == (origin if allowed else None)
        assert "Access-Control-Allow-Credentials" not in got.headers
        assert "Origin" in got.headers["Vary"] or not allowed
    assert "Access-Control-Allow-Origin" not in client.get("/", headers={"Origin": "https://lab.example.org"}).headers
    plain = asking(db).get("/api/v1/nodes", headers={"Origin": "https://lab.example.org"})
    assert "Access-Control-Allow-Origin" not in plain.headers


def test_administrators_see_how_often_and_how_long_was_answered(db: Database) -> None:
    root = asking(db, "root", "admin")
    for _ in range(2):
        root.get("/api/v1/experiments")
    told = root.get("/metrics").text
    line = 'tracker_http_requests_total{endpoint="api.experiments.find",method="GET",status="200"}'
    assert line in told
    assert 'tracker_http_request_seconds_bucket{endpoint="api.experiments.find",le="+Inf"}' in told
    assert "tracker_http" not in asking(db, "alice").get("/metrics").text
