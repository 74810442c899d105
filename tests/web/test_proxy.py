"""A trusted proxy says who somebody is, and nobody else can say so."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import datetime, timezone
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from tests.conftest import wait_until
from tracker.errors import BadInput
from tracker.settings import Settings
from tracker.store import accounts, audit
from tracker.store.database import Database
from web import create_app

PROXY, STRANGER = "10.0.0.7", "10.0.0.8"


def server_of(db: Database, **settings: str) -> FlaskClient:
    told = {"logins": "proxy", "trusted_proxies": PROXY, "proxy_user_header": "X-Remote-User", **settings}
    return create_app(Settings(**told), db).test_client()  # type: ignore[arg-type]


def asked(client: FlaskClient, address: str, path: str = "/api/v1/tokens", **headers: str) -> int:
    told = {name.replace("_", "-"): value for name, value in headers.items()}
    return client.get(path, headers=told, environ_overrides={"REMOTE_ADDR": address}).status_code


def test_the_proxy_is_believed_and_nobody_else(db: Database) -> None:
    client = server_of(db)
    assert asked(client, PROXY, X_Remote_User="alice") == 200
    assert asked(client, PROXY, "/", X_Remote_User="alice") == 200
    assert asked(client, STRANGER, X_Remote_User="alice") == 401
    assert asked(client, "127.0.0.1", X_Remote_User="alice") == 401
    assert asked(client, STRANGER, X_Remote_User="alice", X_Forwarded_For=PROXY) == 401
    assert asked(client, "", X_Remote_User="alice") == 401
    assert asked(client, PROXY) == 401


def test_only_the_header_of_the_settings_counts(db: Database) -> None:
    client = server_of(db)
    for name in ("Remote-User", "X-Remote-Users", "Remote_User", "REMOTE_USER", "X-Forwarded-User"):
        answer = client.get("/", headers={name: "root"}, environ_overrides={"REMOTE_ADDR": PROXY})
        assert answer.status_code == 303, name


def test_a_name_that_is_none_opens_nothing(db: Database) -> None:
    client = server_of(db)
    for name in ("alice,root", "alice, root", "alice root", "", " ", "a\u00e9", "x" * 65, "../root", "root;"):
        assert asked(client, PROXY, X_Remote_User=name.encode().decode("latin-1")) == 401, name


def test_two_headers_are_no_name(db: Database) -> None:
    """A proxy that appends its own header to that of the client must not let the client choose."""
    told = [("X-Remote-User", "root"), ("X-Remote-User", "alice")]
    answer = server_of(db).get("/api/v1/runs", headers=told, environ_overrides={"REMOTE_ADDR": PROXY})
    assert answer.status_code == 401


def test_the_role_is_that_of_the_account_or_the_settings(db: Database) -> None:
    with db.write() as session:
        accounts.add(session, "carol", "admin", None, datetime.now(timezone.utc))
    client = server_of(db, admins="dora emil")
    told = {name: asked(client, PROXY, "/api/v1/audit", X_Remote_User=name) for name in ("alice", "carol", "dora")}
    assert told == {"alice": 403, "carol": 200, "dora": 200}
    with db.write() as session:
        accounts.disable(session, "dora", datetime.now(timezone.utc))
    assert asked(client, PROXY, X_Remote_User="dora") == 401


def test_a_page_of_another_site_cannot_act_through_the_proxy(db: Database) -> None:
    client = server_of(db)
    for told, status in (({"Sec-Fetch-Site": "cross-site"}, 403), ({}, 403), ({"Origin": "https://evil.example"}, 403),
                         ({"Sec-Fetch-Site": "same-origin"}, 201)):  # fmt: skip
        headers = {"X-Remote-User": "alice", **told}
        answer = client.post(
            "/api/v1/tokens", json={"name": "x"}, headers=headers, environ_overrides={"REMOTE_ADDR": PROXY}
        )
        assert answer.status_code == status, told


def test_where_the_way_is_closed_the_header_is_nothing(db: Database) -> None:
    assert asked(server_of(db, logins="link"), PROXY, X_Remote_User="alice") == 401


@pytest.mark.parametrize(
    "settings",
    [
        {"trusted_proxies": ""},
        {"proxy_user_header": ""},
        {"trusted_proxies": "proxy.example"},
        {"proxy_user_header": "X_User"},
    ],
)
def test_settings_that_do_not_go_together_are_told_at_the_start(db: Database, settings: dict[str, str]) -> None:
    with pytest.raises(BadInput, match=r"proxy_user_header|trusted_proxies"):
        server_of(db, **settings)


@pytest.mark.parametrize(
    ("peer", "told", "address"),
    [(PROXY, "192.0.2.9", "192.0.2.9"), (PROXY, "1.1.1.1, 192.0.2.9", "192.0.2.9"), (STRANGER, "192.0.2.9", STRANGER),
     (PROXY, "192.0.2.9, 10.0.0.7", "192.0.2.9"), (PROXY, "me\x1b", PROXY), (PROXY, "", PROXY),
     (PROXY, "2001:DB8::1", "2001:db8::1")],
)  # fmt: skip
def test_an_address_is_what_trusted_proxies_say(db: Database, peer: str, told: str, address: str) -> None:
    client = server_of(db)
    client.get(
        "/api/v1/runs",
        headers={"X-Forwarded-For": told, "Authorization": "Bearer x"},
        environ_overrides={"REMOTE_ADDR": peer},
    )
    with db.read() as session:
        (entry,) = audit.find(session).items
    assert entry.address == address


@pytest.fixture
def on_a_socket(tmp_path: Path) -> Iterator[Callable[..., http.client.HTTPResponse]]:
    """`tracker server` on a Unix socket, and a way to ask it."""
    path, db = tmp_path / "http.sock", f"sqlite:///{tmp_path / 'tracker.db'}"
    told = {
        "LISTEN": f"unix:{path}",
        "DATABASE": db,
        "WEB_WORKERS": "1",
        "LOGINS": "proxy",
        "TRUSTED_PROXIES": "unix",
        "PROXY_USER_HEADER": "X-Remote-User",
    }
    environ = os.environ | {f"TRACKER_{name}": value for name, value in told.items()}
    process = subprocess.Popen([sys.executable, "-m", "tracker", "server"], env=environ)

    def ask(address: str, headers: list[tuple[str, str]]) -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection("tracker")
        with closing(connection), socket.socket(socket.AF_UNIX) as connection.sock:
            connection.sock.settimeout(30)
            connection.sock.connect(str(path))
            connection.putrequest("GET", address)
            for name, value in headers:
                connection.putheader(name, value)
            connection.endheaders()
            answer = connection.getresponse()
            answer.read()
        return answer

    def is_ready() -> bool:
        try:
            return ask("/readyz", []).status == 200
        except OSError:
            return False

    wait_until(is_ready)
    assert path.stat().st_mode & 0o777 == 0o660
    yield ask
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 0


def test_on_a_unix_socket_tricks_with_headers_are_none(on_a_socket: Callable[..., http.client.HTTPResponse]) -> None:
    """By a real gunicorn: what a proxy passes on of its client's own headers beside the one that it sets."""

    def status(*headers: tuple[str, str]) -> int:
        return on_a_socket("/api/v1/runs", list(headers)).status

    assert status(("X-Remote-User", "alice")) == 200
    assert status(("x-rEMOTE-uSER", "alice")) == 200
    assert status(("X_Remote_User", "root")) == 401
    assert status(("X-Remote_User", "root")) == 401
    assert status(("REMOTE_USER", "root")) == 401
    assert status(("X-Remote-User", "root"), ("X-Remote-User", "alice")) == 401
    assert status(("X-Remote-User", "alice"), ("X_Remote_User", "root")) == 200
    secure = on_a_socket("/login", [("X-Forwarded-Proto", "https"), ("X-Remote-User", "alice")])
    assert "max-age" in str(secure.headers["Strict-Transport-Security"])
