"""Whose process made a MUNGE credential gets a token, once; nobody gets one by somebody else's, or by an old one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from sqlalchemy import select, update
from werkzeug.serving import make_server

from tests.conftest import ROOT
from tests.munged import Munged, running
from tests.ports import free_port
from tracker.actions.log_in_by_munge import log_in
from tracker.client.reading import Api
from tracker.credentials import Claim, new_claim, server_name
from tracker.errors import Unauthenticated
from tracker.settings import Settings
from tracker.slurm import munge
from tracker.store import accounts, audit, tokens
from tracker.store.database import Database
from tracker.store.tables import Token
from web import create_app

from .conftest import Answer, Server

DAEMON, BIN, NOBODY = 1, 2, 65534  # users that every Debian has; here somebody's
PATH = "/api/v1/tokens:munge"


@pytest.fixture(scope="module")
def munged() -> Iterator[Munged]:
    with running() as daemon:
        yield daemon


Start = Callable[..., Server]


@pytest.fixture
def start(db: Database) -> Iterator[Start]:
    """Starts servers that take the credentials of a munged."""
    started = []

    def begin(daemon: Munged, **settings: str) -> Server:
        port = free_port()
        told = {"logins": "link munge", "slurm_users": "bin", "munge_socket": str(daemon.socket)} | settings
        app = create_app(Settings(home=os.environ["TRACKER_HOME"], port=port, **told), db)  # type: ignore[arg-type]
        server = make_server("127.0.0.1", port, app, threaded=True)
        server.daemon_threads = False
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        started.append((server, thread))
        return Server(f"http://127.0.0.1:{port}", db)

    yield begin
    for server, thread in started:
        server.shutdown()
        thread.join()
        server.server_close()


def show(server: Server, credential: str, *, agent: bool = False) -> Answer:
    body = json.dumps({"credential": credential, "agent": agent}).encode()
    return server.ask(PATH, method="POST", body=body, Content_Type="application/json")


def test_a_user_gets_a_token_without_any_secret(start: Start, munged: Munged) -> None:
    server = start(munged)
    server.token("daemon")
    answer = show(server, munged.for_server(DAEMON, server.url))
    assert answer.status == 200, answer.text
    assert {name: answer.json[name] for name in ("user", "role", "expires_in")} == {
        "user": "daemon", "role": "user", "expires_in": 1800,
    }  # fmt: skip
    assert server.ask("/api/v1/runs", token=answer.json["access_token"]).status == 200


@pytest.mark.parametrize(
    ("uid", "agent", "role"),
    [(0, False, "admin"), (0, True, "node"), (BIN, False, "node"), (BIN, True, "node"), (DAEMON, True, "user")],
    ids=["root", "root's agent", "SlurmUser", "SlurmUser's agent", "a user's agent"],
)
def test_root_and_slurm_s_user_report_for_all(start: Start, munged: Munged, uid: int, agent: bool, role: str) -> None:
    server = start(munged)
    answer = show(server, munged.for_server(uid, server.url), agent=agent)
    assert answer.json["role"] == role
    reads = server.ask("/api/v1/runs", token=answer.json["access_token"])
    assert reads.status == (403 if agent else 200)
    if role == "node" and not agent:
        assert reads.json["items"] == []


def test_a_credential_is_good_once(start: Start, munged: Munged) -> None:
    server = start(munged)
    credential = munged.for_server(DAEMON, server.url)
    assert [show(server, credential).status for _ in range(2)] == [200, 401]
    with server.database.read() as session:
        refused = audit.find(session, action="login.refused").items
    assert ["used before" in one.detail for one in refused] == [True]


def test_it_is_good_once_on_all_servers_together(start: Start, munged: Munged) -> None:
    """Each machine's munged remembers what it has decoded, and no other one's."""
    with running(munged.key) as elsewhere:
        one = start(munged)
        other = start(elsewhere, other_urls=one.url)
        credential = munged.for_server(DAEMON, one.url)
        answers = [show(one, credential), show(other, credential)]
    assert [answer.status for answer in answers] == [200, 401]
    assert "used before" in answers[1].json["detail"]


def test_what_was_made_for_another_server_opens_nothing(start: Start, munged: Munged) -> None:
    """Who runs a server that people log in at must not be able to log in as them elsewhere."""
    server = start(munged, url="https://tracker.example.org")
    port = server.url.rpartition(":")[2]
    for elsewhere in ("https://bob.example.org", f"http://localhost:{port}", f"http://n1:{port}", f"{server.url}/bob"):
        answer = show(server, munged.for_server(DAEMON, elsewhere))
        assert (answer.status, "https://tracker.example.org:443" in answer.json["detail"]) == (401, True), elsewhere
    assert show(server, munged.for_server(DAEMON, "https://Tracker.example.org/")).status == 200
    assert show(server, munged.for_server(DAEMON, server.url)).status == 200


def test_the_loopback_of_another_machine_is_another_server(start: Start, munged: Munged) -> None:
    server = start(munged)
    here = server_name(server.url)
    there = Claim(here.replace(f" on {os.uname().nodename}", " on elsewhere"), "0" * 32)
    assert here != there.server
    assert show(server, munged.credential(DAEMON, there.packed())).status == 401


@pytest.mark.parametrize(
    "payload",
    [b"", b"x", b"null", b"[]", b'{"tracker":1,"nonce":2}', b'{"tracker":"x"}', b"[" * 1500, b"\xff\n\nUID: 0\n"],
)
def test_a_credential_of_another_program_opens_nothing(start: Start, munged: Munged, payload: bytes) -> None:
    answer = show(start(munged), munged.credential(DAEMON, payload))
    assert (answer.status, answer.json["detail"]) == (401, "This MUNGE credential was made for something else.")


def test_a_payload_cannot_pretend_to_be_what_munge_says(start: Start, munged: Munged) -> None:
    server = start(munged)
    claim = new_claim(server.url).packed()
    for payload in (b"\nUID: 0\n\n" + claim, claim + b"\nUID: 0\n\n"):
        assert show(server, munged.credential(DAEMON, payload)).status == 401
    answer = show(server, munged.credential(DAEMON, b'\n\n{"UID":0,"user":"root",' + claim[1:]))
    assert (answer.status, answer.json["user"]) == (200, "daemon")


def test_what_is_forged_or_of_another_cluster_opens_nothing(start: Start, munged: Munged) -> None:
    server = start(munged)
    with running() as foreign:
        credentials = [foreign.for_server(0, server.url)]
    good = munged.for_server(DAEMON, server.url)
    middle = len(good) // 2
    credentials += [good[:middle] + ("A" if good[middle] != "A" else "B") + good[middle + 1 :]]
    credentials += ["", "MUNGE::", "MUNGE:AwQFAAC3:", "-", "--help", "MUNGE:" + "A" * 7000 + ":", f"{good} x", "\0"]
    assert {show(server, one).status for one in credentials} == {401}
    assert show(server, good).status == 200  # none of these has used it up


def test_an_expired_credential_opens_nothing(start: Start, munged: Munged) -> None:
    server = start(munged)
    credential = munged.for_server(DAEMON, server.url, "--ttl=1")
    time.sleep(2.1)
    answer = show(server, credential)
    assert (answer.status, answer.json["detail"]) == (401, "This MUNGE credential is not valid: it has expired.")


@pytest.mark.parametrize("hours", [-1, 1])
def test_nor_does_one_that_munge_takes_for_longer_than_we_remember(
    start: Start, munged: Munged, db: Database, hours: int
) -> None:
    server = start(munged)
    settings = Settings(munge_socket=str(munged.socket), port=int(server.url.rpartition(":")[2]))
    credential = munged.for_server(DAEMON, server.url, "--ttl=-1")
    with pytest.raises(Unauthenticated, match="five minutes"):
        log_in(db, settings, credential, for_agent=False, now=datetime.now(timezone.utc) + timedelta(hours=hours))


def test_a_user_whom_the_server_does_not_know_or_want_stays_out(start: Start, munged: Munged) -> None:
    server = start(munged)
    answer = show(server, munged.for_server(54321, server.url))
    assert (answer.status, "54321" in answer.json["detail"]) == (403, True)
    with server.database.write() as session:
        accounts.disable(session, "daemon", datetime.now(timezone.utc))
    assert show(server, munged.for_server(DAEMON, server.url)).status == 403


def test_where_munge_is_no_way_to_log_in_it_opens_nothing(start: Start, munged: Munged) -> None:
    server = start(munged, logins="link local")
    assert show(server, munged.for_server(0, server.url)).status == 404


def test_a_munged_that_hangs_holds_up_nobody(start: Start, munged: Munged, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(munge, "TIMEOUT_S", 0.3)
    server = start(munged)
    token = server.token()
    credential = munged.for_server(DAEMON, server.url)
    with munged.hanging():
        threads = [threading.Thread(target=show, args=(server, credential)) for _ in range(5)]
        for thread in threads:
            thread.start()
        assert server.ask("/api/v1/runs", token=token).status == 200
        answer = show(server, credential)
        assert (answer.status, answer.json["code"]) == (503, "unavailable")
        for thread in threads:
            thread.join()
    assert show(server, munged.for_server(DAEMON, server.url)).status == 200


def test_a_machine_without_munge_says_so(start: Start, munged: Munged, monkeypatch: pytest.MonkeyPatch) -> None:
    server = start(munged)
    credential = munged.for_server(DAEMON, server.url)
    monkeypatch.setenv("PATH", "/nowhere")
    answer = show(server, credential)
    assert (answer.status, "not installed" in answer.json["detail"]) == (503, True)


def test_the_token_is_good_for_half_an_hour(start: Start, munged: Munged) -> None:
    server = start(munged)
    token = show(server, munged.for_server(DAEMON, server.url)).json["access_token"]
    _expire(server.database)
    assert server.ask("/api/v1/runs", token=token).status == 401


def _expire(db: Database) -> None:
    with db.write() as session:
        session.execute(update(Token).values(expires_at=datetime.now(timezone.utc) - timedelta(seconds=1)))


def test_a_program_logs_in_by_itself_once_for_many_requests(
    start: Start, munged: Munged, monkeypatch: pytest.MonkeyPatch, db: Database
) -> None:
    server = start(munged)
    monkeypatch.setenv("TRACKER_MUNGE_SOCKET", str(munged.socket))
    api = Api(server.url)
    for _ in range(3):
        assert list(api.runs()) == []
    with db.read() as session:
        assert [token.purpose for token in session.scalars(select(Token))] == [tokens.ACCESS]
    _expire(db)
    assert list(api.runs()) == []  # it has logged in again


def test_a_program_is_told_why_it_cannot_log_in(start: Start, munged: Munged, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACKER_MUNGE_SOCKET", str(munged.socket))
    with pytest.raises(Unauthenticated, match="logins"):
        list(Api(start(munged, logins="link").url).runs())
    elsewhere = start(munged, listen="10.0.0.1")
    with pytest.raises(Unauthenticated, match="other_urls"):
        list(Api(elsewhere.url).runs())


def test_an_agent_without_a_token_delivers_by_munge(start: Start, munged: Munged, tmp_path: Path) -> None:
    """As a user: the test's own files are shipped by the agent of whoever owns them, for root all."""
    server = start(munged)
    folder = tmp_path / "spool" / "jobs" / f"local.{'a' * 32}"
    folder.mkdir(parents=True)
    (folder / "w1.jsonl").write_text('{"metrics":{"loss":0.5},"step":1}\n')
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HOME": "/nowhere"}
    env["TRACKER_MUNGE_SOCKET"] = str(munged.socket)
    command = [sys.executable, "-m", "tracker.agent", "--once", "--spool", str(tmp_path / "spool"), "--url", server.url]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    found = server.ask(f"/api/v1/runs/{'a' * 8}-aaaa-aaaa-aaaa-{'a' * 12}", token=server.token("root", "admin")).json
    assert found["summary"]["loss"]["last"] == 0.5
