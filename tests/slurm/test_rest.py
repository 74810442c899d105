"""slurmrestd when nothing good comes out of it: the server here is of air, the real one is recorded."""

from __future__ import annotations

import base64
import json
import socketserver
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from tests.slurm.replay import Recording
from tracker.errors import SetupProblem, SlurmUnavailable
from tracker.settings import Settings
from tracker.slurm.choice import chosen
from tracker.slurm.rest import Rest
from tracker.slurm.slurmrestd import Slurmrestd

UNLIKE = ("run_time_s", "scheduled_nodes", "tasks")
"""Counted on between two questions, told by newer versions only, or not asked of squeue yet when it was recorded."""


class _Handler(BaseHTTPRequestHandler):
    """Answers each path as the test said."""

    def do_GET(self) -> None:
        server: Any = self.server
        server.seen.append(dict(self.headers))
        status, body = server.answers.get(self.path.partition("?")[0], (404, b"{}"))
        self.send_response(status)
        self.end_headers()
        self.wfile.write(body)

    def address_string(self) -> str:
        return "unix"

    def log_message(self, format: str, *args: object) -> None:
        pass


class _Server(socketserver.ThreadingUnixStreamServer):
    answers: dict[str, tuple[int, bytes]]
    seen: list[dict[str, str]]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[_Server]:
    one = _Server(str(tmp_path / "socket"), _Handler)
    one.answers, one.seen = {}, []
    thread = threading.Thread(target=one.serve_forever)
    thread.start()
    yield one
    one.shutdown()
    thread.join()
    one.server_close()


def slurmrestd_at(server: _Server, token_file: str = "") -> Slurmrestd:
    return Slurmrestd(f"unix:{server.server_address!s}", token_file=token_file, user="alice", timeout_s=10)


@pytest.mark.parametrize(
    ("status", "body", "sentence"),
    [
        (401, b"Authentication failure", "refuses us (401)"),
        (500, b"not json", "is no JSON (status 500)"),
        (200, b"[]", "is no object"),
        (200, b'{"errors": [{"description": "Unable to contact slurm controller"}]}', "Unable to contact slurm"),
        (503, b"{}", "status 503"),
    ],
)
def test_a_bad_answer_is_told_in_one_sentence(server: _Server, status: int, body: bytes, sentence: str) -> None:
    server.answers["/openapi/v3"] = (status, body)
    with pytest.raises(SlurmUnavailable) as refused:
        Rest(slurmrestd_at(server).get).queue()
    assert sentence in str(refused.value)


def test_a_socket_that_nobody_listens_on(tmp_path: Path) -> None:
    slurmrestd = Slurmrestd(f"unix:{tmp_path}/nothing", token_file="", user="alice", timeout_s=10)
    with pytest.raises(SlurmUnavailable, match="does not answer: "):
        Rest(slurmrestd.get).queue()


def test_a_version_that_we_do_not_know(server: _Server) -> None:
    server.answers["/openapi/v3"] = (200, b'{"paths": {"/slurm/v0.0.99/jobs/": {"get": {}}}}')
    with pytest.raises(SlurmUnavailable, match=r"v0\.0\.36 to v0\.0\.45\), but v0\.0\.99"):
        Rest(slurmrestd_at(server).get).queue()


def test_the_newest_version_that_both_know_is_asked_with_a_token_that_may_be_renewed(
    server: _Server, tmp_path: Path
) -> None:
    paths = {f"/slurm/v0.0.{version}/jobs/": {"get": {}} for version in (40, 45, 99)}
    server.answers["/openapi/v3"] = (200, json.dumps({"paths": paths}).encode())
    server.answers["/slurm/v0.0.45/jobs/"] = (200, b'{"jobs": []}')
    token = tmp_path / "token"
    token.write_text("SLURM_JWT=first\n")
    rest = Rest(slurmrestd_at(server, str(token)).get)
    assert rest.queue() == []
    token.write_text("second")
    rest.queue()
    told = [one["X-SLURM-USER-TOKEN"] for one in server.seen]
    assert told == ["first", "first", "second"]
    assert server.seen[0]["X-SLURM-USER-NAME"] == "alice"


def made_token(**claims: object) -> str:
    """A token as Slurm makes them, but for its signature."""
    said = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return f"eyJhbGciOiJIUzI1NiJ9.{said}.c2lnbmF0dXJl"


@pytest.mark.parametrize(
    ("token", "sentence"),
    [
        (made_token(exp=time.time() - 1, sun="alice"), "has expired: make another one"),
        (made_token(exp=time.time() + 86_400, sun="bob"), "is not alice's"),
    ],
    ids=["expired", "another's"],  # the same in all processes that the tests are spread over
)
def test_a_token_that_cannot_do_is_not_even_sent(server: _Server, tmp_path: Path, token: str, sentence: str) -> None:
    (tmp_path / "token").write_text(token)
    with pytest.raises(SlurmUnavailable, match=sentence):
        Rest(slurmrestd_at(server, str(tmp_path / "token")).get).queue()
    assert server.seen == []


def test_a_token_that_slurm_refuses_is_named(server: _Server, tmp_path: Path) -> None:
    offering(server, 42, "/slurm/*/jobs/")
    body = {"errors": [{"description": "Unable to query jobs", "error_number": 1007}]}
    server.answers["/slurm/v0.0.42/jobs/"] = (511, json.dumps(body).encode())
    (tmp_path / "token").write_text(made_token(exp=time.time() + 600, sun="alice"))
    with pytest.raises(
        SlurmUnavailable, match=r"Unable to query jobs \(Slurm is down, or refuses the token in .*token\)"
    ):
        Rest(slurmrestd_at(server, str(tmp_path / "token")).get).queue()


def test_accounting_that_has_no_such_job_has_answered(server: _Server) -> None:
    """Slurm 22.05 calls it an error."""
    offering(server, 38, "/slurmdb/*/jobs")
    body = {"errors": [{"description": "Nothing found", "error_number": 9003}], "jobs": []}
    server.answers["/slurmdb/v0.0.38/jobs"] = (200, json.dumps(body).encode())
    assert Rest(slurmrestd_at(server).get).records([7]) == []


def offering(server: _Server, version: int, *paths: str) -> None:
    told = {path.replace("*", f"v0.0.{version}"): {"get": {}} for path in paths}
    server.answers["/openapi/v3"] = (200, json.dumps({"paths": told}).encode())


@pytest.mark.parametrize(
    "jobs",
    [
        {},
        {"jobs": [{"name": "without an id"}]},
        {"jobs": [7]},
        {"jobs": [{"job_id": 7, "array_job_id": 7, "array_task_string": "1,3,5,7,9,..."}]},
    ],
)
def test_jobs_that_cannot_be_read_fail_the_look_and_are_not_gone(server: _Server, jobs: object) -> None:
    offering(server, 40, "/slurm/*/jobs/")
    server.answers["/slurm/v0.0.40/jobs/"] = (200, json.dumps(jobs).encode())
    with pytest.raises(SlurmUnavailable):
        Rest(slurmrestd_at(server).get).queue()


def test_a_node_without_a_state_is_a_bad_answer(server: _Server) -> None:
    offering(server, 40, "/slurm/*/nodes/")
    server.answers["/slurm/v0.0.40/nodes/"] = (200, b'{"nodes": [{"name": "n1"}]}')
    with pytest.raises(SlurmUnavailable, match="cannot be understood"):
        Rest(slurmrestd_at(server).get).nodes()


def test_accounting_that_does_not_answer_is_not_called_missing(server: _Server) -> None:
    offering(server, 40, "/slurm/*/ping/", "/slurmdb/*/clusters/")
    server.answers["/slurm/v0.0.40/ping/"] = (200, b'{"meta": {"slurm": {"cluster": "dev"}}}')
    server.answers["/slurmdb/v0.0.40/clusters/"] = (500, b"{}")
    assert Rest(slurmrestd_at(server).get).facts().has_accounting is None
    server.answers["/slurm/v0.0.40/ping/"] = (200, b'{"meta": {}}')  # 22.05 does not name its cluster there
    with pytest.raises(SlurmUnavailable, match="status 500"):
        Rest(slurmrestd_at(server).get).facts()


def test_slurmrestd_that_is_upgraded_is_asked_anew(server: _Server) -> None:
    rest = Rest(slurmrestd_at(server).get)
    for version in (40, 42):
        offering(server, version, "/slurm/*/jobs/")
        server.answers = {path: told for path, told in server.answers.items() if path == "/openapi/v3"}
        server.answers[f"/slurm/v0.0.{version}/jobs/"] = (200, b'{"jobs": []}')
        if version == 42:
            with pytest.raises(SlurmUnavailable):
                rest.queue()
        assert rest.queue() == []


def test_slurmrestd_needs_an_address() -> None:
    with pytest.raises(SetupProblem, match="Set `slurmrestd` to where it listens"):
        chosen(Settings(slurm_source="rest"))


@pytest.mark.parametrize("version", [v for v in ("22.05", "24.11", "26.05") if "rest" in Recording(v).sources])
def test_both_sources_tell_the_same_of_the_queue(version: str) -> None:
    recording = Recording(version)
    by_commands, by_rest = (
        {(job.job_id, job.array_job_id, job.array_task_id): job for job in recording.source(name).queue()}
        for name in ("commands", "rest")
    )
    assert by_rest.keys() == by_commands.keys()
    different = {
        (key, name, told, getattr(by_rest[key], name))
        for key, job in by_commands.items()
        for name, told in vars(job).items()
        if name not in UNLIKE and _plain(told) != _plain(getattr(by_rest[key], name))
    }
    assert different == set()


def _plain(value: object) -> object:
    """A reason without the signal's number, which slurmrestd leaves out."""
    return value.partition(":")[0] if isinstance(value, str) and value.startswith("RaisedSignal") else value
