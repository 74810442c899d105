"""The door for agents lets in what it should, and nothing that would burst the house."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable

import pytest
import zstandard

from tracker import events
from tracker.store import audit

from .conftest import Server

PATH = "/api/v1/ingest"


def _request(name: str = "train", loss: float = 0.5) -> bytes:
    lines = [
        {"event": "run", "experiment": "mnist", "name": name, "time": 1763688000},
        {"metrics": {"loss": loss}, "step": 1, "time": 1763688001},
    ]
    blob = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    part = {"type": "lines", "folder": "dev.12", "writer": "w1", "offset": 0, "uid": 1001, "user": "alice"}
    manifest = {"version": 1, "agent": {"node": "n1", "cluster": "dev", "time": 1763688002}, "folders": []}
    return events.encode_request(manifest | {"parts": [part | {"length": len(blob)}]}, [blob])


def test_what_an_agent_delivers_is_found_as_a_run(server: Server) -> None:
    node = server.token("n1", "node", "node")
    answer = server.ask(PATH, method="POST", token=node, body=_request(), Content_Type=events.INGEST_TYPE)
    assert answer.status == 200
    assert list(answer.json["parts"][0]) == ["offset"]
    told = server.ask("/api/v1/runs/dev:12", token=server.token()).json
    assert (told["name"], told["experiment"], told["user"]) == ("train", "mnist", "alice")
    assert told["summary"]["loss"]["count"] == 1


@pytest.mark.parametrize(("packing", "pack"), [("gzip", gzip.compress), ("zstd", zstandard.compress)])
def test_a_packed_delivery_may_be_repeated(server: Server, packing: str, pack: Callable[[bytes], bytes]) -> None:
    node, body = server.token("n1", "node", "node"), pack(_request())
    answers = [server.ask(PATH, method="POST", token=node, body=body, Content_Encoding=packing) for _ in range(2)]
    assert [answer.status for answer in answers] == [200, 200]
    assert server.ask("/api/v1/runs/dev:12", token=server.token()).json["summary"]["loss"]["count"] == 1


def test_a_token_of_a_person_delivers_nothing_of_jobs_that_are_not_known_to_be_theirs(server: Server) -> None:
    answer = server.ask(PATH, method="POST", token=server.token(), body=_request())
    assert (answer.status, answer.json["parts"][0]["error"]["code"]) == (200, "not_known_yet")
    server.ask(PATH, method="POST", token=server.token("n1", "node", "node"), body=_request())
    answer = server.ask(PATH, method="POST", token=server.token("bob"), body=_request())
    assert answer.json["parts"][0]["error"]["code"] == "forbidden"
    with server.database.read() as session:
        assert [(one.actor, one.target) for one in audit.find(session).items] == [("bob", f"POST {PATH}")]


@pytest.mark.parametrize(
    ("body", "packing", "status", "code"),
    [
        (b"", None, 400, "bad_manifest"),
        (b"{}\n", None, 400, "bad_manifest"),
        (b"no gzip", "gzip", 400, "bad_input"),
        (gzip.compress(b"{}\n")[:-4], "gzip", 400, "bad_input"),
        (gzip.compress(b"{}\n") * 2, "gzip", 400, "bad_input"),
        (b"x", "br", 400, "bad_input"),
        (b"x" * (events.MAX_REQUEST_BYTES + 1), None, 413, "too_large"),
        (zlib.compress(bytes(300_000_000), 9, 31), "gzip", 413, "too_large"),
        (b"no zstd", "zstd", 400, "bad_input"),
        (zstandard.compress(_request())[:-9], "zstd", 400, "bad_input"),
        (zstandard.compress(bytes(300_000_000)), "zstd", 413, "too_large"),
    ],
    ids=(
        "empty",
        "no manifest",
        "no gzip",
        "cut",
        "two streams",
        "unknown packing",
        "too long",
        "bomb",
        "no zstd",
        "zstd cut",
        "zstd bomb",
    ),
)
def test_a_bad_delivery_is_refused(server: Server, body: bytes, packing: str | None, status: int, code: str) -> None:
    told = {"Content_Encoding": packing} if packing else {}
    answer = server.ask(PATH, method="POST", token=server.token("n1", "node", "node"), body=body, **told)
    assert (answer.status, answer.json["code"]) == (status, code)
