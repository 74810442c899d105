"""Whatever is sent, it is refused in one sentence with a code, never by a mistake of the server; nothing is kept."""

from __future__ import annotations

import gzip
import http.client
import json
from typing import Any
from urllib.parse import urlsplit

import zstandard

from tracker.events import encode_request

from . import samples
from .conftest import Server
from .test_changes import new_run, send

MIB = 1024 * 1024
STREAMED = zstandard.ZstdCompressor(write_content_size=False)
LONG_RUN = json.dumps({"params": {f"p{number}": str(number**5) for number in range(900)}}).encode()
BOMB = gzip.compress(b'{"name":"' + bytes(64 * MIB) + b'"}', 9)


def _raw(server: Server, method: str, path: bytes, body: bytes = b"", **headers: str | bytes) -> tuple[int, Any]:
    """The answer to a request that no decent client would send: its status, and the document if it is one."""
    told = urlsplit(server.url)
    connection = http.client.HTTPConnection(str(told.hostname), told.port, timeout=30)
    connection.putrequest(method, path.decode("latin-1"), skip_host="Host" in headers)
    for name, value in {"Content-Length": str(len(body)), **headers}.items():
        connection.putheader(name.replace("_", "-"), value)
    connection.endheaders(body)
    answer = connection.getresponse()
    said = answer.read()
    connection.close()
    is_json = str(answer.headers["Content-Type"]).startswith(("application/json", "application/problem+json"))
    return answer.status, json.loads(said) if is_json else None


BAD_RUNS = [
    (BOMB, "gzip", 413, "too_large"),
    (gzip.compress(b'{"name":"x"}')[:-5], "gzip", 400, "bad_input"),
    (b'{"name":"x"}', "gzip", 400, "bad_input"),
    (b'{"name":"x"}', "compress, gzip", 400, "bad_input"),
    (zstandard.compress(b'{"name":"' + bytes(64 * MIB) + b'"}'), "zstd", 413, "too_large"),
    (zstandard.compress(b'{"name":"x"}')[:-3], "zstd", 400, "bad_input"),
    (STREAMED.compress(LONG_RUN)[:-40], "zstd", 400, "bad_input"),
    (zstandard.compress(b'{"name":"x"}', 22)[:6] + bytes(20), "zstd", 400, "bad_input"),
    (b"(\xb5/\xfd\x00\xf8" + bytes(9), "zstd", 400, "bad_input"),
    (b'{"name":"x"}', "zstd", 400, "bad_input"),
    (b'{"name":"' + b"x" * (MIB // 2) + b'"}', "identity", 400, "bad_input"),
    (b'{"name":"' + b"x" * (2 * MIB) + b'"}', "identity", 413, "too_large"),
    (b'{"name":"x"', "identity", 400, "bad_input"),
    ('{"name":"x"}'.encode("utf-16"), "identity", 400, "bad_input"),
    (b'\xef\xbb\xbf{"name":"x"}', "identity", 400, "bad_input"),
    (b'{"name":"\xff"}', "identity", 400, "bad_input"),
    (b'{"name":"\\ud83d"}', "identity", 400, "bad_input"),
    (b'{"name":"a\\u0000b"}', "identity", 400, "bad_input"),
    (b'{"name":"a\\nb"}', "identity", 400, "bad_input"),
    (b'{"name":"\\u001b[31m"}', "identity", 400, "bad_input"),
    (b"[" * 100_000, "identity", 400, "bad_input"),
    (b'{"params":{"a":' + b'{"b":' * 50_000, "identity", 400, "bad_input"),
    (b'{"params":{"a":1}}', "identity", 400, "bad_input"),
    (b'{"params":{"' + b"k" * 501 + b'":"v"}}', "identity", 400, "bad_input"),
    (b'{"started_at":"9999999-01-01T00:00:00Z"}', "identity", 400, "bad_input"),
    (b'{"started_at":"2026-13-01T00:00:00Z"}', "identity", 400, "bad_input"),
    (b'{"started_at":"2026-01-01T00:00:00+99:00"}', "identity", 400, "bad_input"),
    (b'{"started_at":NaN}', "identity", 400, "bad_input"),
    (b'{"id":"not a uuid"}', "identity", 400, "bad_input"),
    (json.dumps({"tags": {f"k{number}": "v" for number in range(1001)}}).encode(), "identity", 400, "bad_input"),
]  # fmt: skip
"""A body, how it is packed, and how it is refused."""


def test_a_bad_run_is_refused_and_none_is_made(server: Server) -> None:
    token = server.token()
    for body, packing, status, code in BAD_RUNS:
        refused = server.ask("/api/v1/runs", method="POST", token=token, body=body, Content_Encoding=packing)
        assert (refused.status, refused.json["code"]) == (status, code), (body[:60], refused.text)
        assert len(refused.json["detail"]) < 400
    assert server.ask("/api/v1/runs", token=token).json["items"] == []
    assert server.ask("/api/v1/experiments", token=token).json["items"] == []


def test_a_packed_body_is_as_good_as_a_plain_one(server: Server) -> None:
    body = gzip.compress(b'{"name":"packed"}')
    made = server.ask("/api/v1/runs", method="POST", token=server.token(), body=body, Content_Encoding="gzip")
    assert (made.status, made.json["name"]) == (201, "packed")


def test_a_megabyte_is_a_name_of_nothing(server: Server) -> None:
    run, long = new_run(server), "n" * 1_000_000
    path = f"/runs/{run['id']}"
    for method, where, body in (
        ("POST", "/runs", {"name": long}), ("POST", "/runs", {"experiment": long}),
        ("POST", "/runs", {"tags": {long: "x"}}), ("POST", "/runs", {"params": {"x": "1"}, long: 1}),
        ("POST", "/experiments", {"name": long}),
        ("POST", f"{path}/metrics", {"points": [{"metric": "ok", "value": 1}, {"metric": long, "value": 1}]}),
        ("POST", f"{path}/metrics", {"points": [{"metric": "ok", "value": 1}], "writer": long}),
        ("PATCH", path, {"name": long, "tags": {"a": "b"}}), ("PATCH", path, {"tags": {"a": "b", long: None}}),
        ("PATCH", "/runs", {"ids": [run["id"], long], "name": "x"}), ("POST", "/runs:delete", {"ids": [long]}),
        ("POST", "/series", {"runs": [run["id"]], "metrics": [long]}),
    ):  # fmt: skip
        refused = send(server, method, where, body)
        assert (refused.status, refused.json["code"]) in ((400, "bad_input"), (413, "too_large")), (where, refused.text)
        assert len(refused.body) < 1000
    token = server.token("n1", "node", "node")
    for part in ({"folder": long}, {"writer": long}, {"user": long}):
        line = b'{"metrics":{"loss":1},"step":0}\n'
        told = {"type": "lines", "folder": "dev.12", "writer": "w1", "offset": 0, "length": len(line), **part}
        agent = {"node": "n1", "cluster": "dev", "time": 1.7e9}
        body = encode_request({"version": 1, "agent": agent, "folders": [], "parts": [told]}, [line])
        answer = server.ask("/api/v1/ingest", method="POST", token=token, body=body)
        assert answer.status < 500, answer.text[:300]
        assert len(answer.body) < 1000
    assert run.items() <= send(server, "GET", path).json.items()
    assert len(server.ask("/api/v1/runs", token=server.token("root", "admin")).body) < 10_000


BAD_PATHS = [
    b"/api/v1/runs?q=%ff%fe", b"/api/v1/runs/%ff", b"/api/v1/runs/..%2f..%2fetc", b"/api/v1/runs/%00",
    b"/api/v1/experiments/%ed%a0%80", b"/api/v1/runs/dev:99999999999999999999", b"/api/v1/runs?limit=1e3",
    b"/api/v1/runs?limit=%D9%A5", b"/api/v1/runs?cursor=%ff", b"/api/v1/experiments?cursor=W10",
    b"/api/v1/runs?" + b"q=x&" * 1200, b"/api/v1/runs?filter=" + b"(" * 3000, b"/api/v1/runs?order_by=%00",
    b"/api/v1/runs/dev:1/series?metric=%00", b"/api/v1/runs/dev:1/media/w.99999999999999999999999",
    b"/api/v1/stream?last_event_id=99999999999999999999", b"/api/v1/runs/dev:1/artifacts/%00/content",
    b"/api/v1/runs?filter=duration%3E1e308", b"/api/v1/runs?filter=duration%3E-1e15",
    b"/api/v1/runs?filter=job_id%20in%20(1,1e308,-9223372036854775809)", b"/api/v1/runs:export?filter=duration%3D1e13",
]  # fmt: skip


def test_no_address_is_a_mistake_of_the_server(server: Server) -> None:
    token = server.token()
    for path in BAD_PATHS:
        status, document = _raw(server, "GET", path, Authorization=f"Bearer {token}")
        assert status in (200, 400, 404), path
        assert status == 200 or document["code"] in ("bad_input", "bad_filter", "not_found"), path


STRANGERS: list[dict[str, Any]] = [
    {"Authorization": b"Bearer \xff\xfe"}, {"Authorization": "Bearer "}, {"Authorization": "Basic eDp5"},
    {"Cookie": b"tracker_http=\xff; tracker_http=\x00"}, {"Authorization": "Bearer " + "x" * 20_000},
    {"Host": "a b\\c", "Authorization": "Bearer x"},
]  # fmt: skip


def test_no_stranger_gets_further_than_the_door(server: Server) -> None:
    for headers in STRANGERS:
        status, _ = _raw(server, "GET", b"/api/v1/runs", **headers)
        assert status in (400, 401, 431), headers


SENSELESS: list[dict[str, Any]] = [
    {"If_None_Match": b'W/"\xff'}, {"If_None_Match": '"' * 500}, {"Accept_Encoding": b"zstd;q=\xff, gzip;q=nan"},
    {"Accept_Encoding": "zstd;q=1e400"}, {"Range": "bytes=9-1"}, {"If_Modified_Since": "never"},
    {"X_Request_ID": b"\xff\x01"}, {"Origin": b"\xff"}, {"Content_Encoding": "zip"}, {"Accept": b"\xff/\xff"},
]  # fmt: skip


def test_headers_without_sense_change_nothing(server: Server) -> None:
    token = server.token()
    for headers in SENSELESS:
        status, document = _raw(server, "GET", b"/api/v1/runs", Authorization=f"Bearer {token}", **headers)
        assert (status, document["items"]) == (200, []), headers


def test_a_condition_that_cannot_be_met_is_told(server: Server) -> None:
    token = server.token()
    refused = server.ask("/api/v1/runs", token=token, If_Match='"x"')
    assert (refused.status, refused.json["code"]) == (412, "precondition_failed")


def test_cursors_of_other_lists_and_orders_are_refused(server: Server) -> None:
    with server.database.write() as session:
        for _ in range(3):
            samples.add_run(session)
    for name in ("a", "b", "c"):
        send(server, "POST", "/experiments", {"name": name})
    of_runs = send(server, "GET", "/runs?limit=1").json["next_cursor"]
    of_names = send(server, "GET", "/runs?limit=1&order_by=name").json["next_cursor"]
    of_experiments = send(server, "GET", "/experiments?limit=1").json["next_cursor"]
    assert None not in (of_runs, of_names, of_experiments)
    for path in (f"/runs?cursor={of_experiments}", f"/runs?cursor={of_names}", f"/experiments?cursor={of_runs}",
                 f"/runs?cursor={of_runs}&order_by=name", f"/jobs?cursor={of_names}"):  # fmt: skip
        refused = send(server, "GET", path)
        assert (refused.status, refused.json["code"]) == (400, "bad_input"), path


def test_what_is_named_twice_is_done_once(server: Server) -> None:
    run = new_run(server)
    changed = send(server, "PATCH", "/runs", {"ids": [run["id"], run["id"].upper()], "tags": {"a": "b"}})
    assert changed.json == {"count": 1}
    body = b'{"name": "first", "name": "last"}'
    told = server.ask(f"/api/v1/runs/{run['id']}", method="PATCH", token=server.token(), body=body).json
    assert told["name"] == "last"
