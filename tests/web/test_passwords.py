"""People log in with a name and a password of this server."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timezone
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Browser, expect

from tracker.actions import check_password
from tracker.actions.check_password import fits, hashed
from tracker.errors import BadInput
from tracker.store import accounts, audit
from tracker.store.database import Database

from .conftest import Answer, Server

SECRET = "correct horse battery"
Serve = Callable[..., Server]


@pytest.fixture(scope="session")
def kept() -> str:
    """What is kept of SECRET, made once: it takes its time."""
    return hashed(SECRET)


@pytest.fixture
def alice(db: Database, kept: str) -> str:
    with db.write() as session:
        accounts.add(session, "alice", "user", kept, datetime.now(timezone.utc))
    return "alice"


def enter(server: Server, user: str, password: str, **more: str) -> Answer:
    body = urlencode({"user": user, "password": password, "next": more.pop("back", "")}).encode()
    return server.ask("/login", method="POST", body=body, Origin=server.url, **more)


def test_a_name_and_its_password_open_a_session(server: Server, alice: str) -> None:
    answer = enter(server, alice, SECRET, back="/runs?user=alice")
    assert (answer.status, answer.headers["Location"]) == (303, "/runs?user=alice")
    cookie = answer.headers["Set-Cookie"].partition(";")[0]
    assert ">alice<" in server.ask("/", Cookie=cookie).text


def test_nothing_else_does(server: Server, alice: str) -> None:
    for user, password in (
        ("alice", SECRET + "x"), ("alice", ""), ("alice", SECRET + "\0"), ("bob", SECRET), ("Alice", SECRET),
        ("", SECRET), ("alice\0", SECRET), ("alice' or '1'='1", SECRET), ("a" * 5000, SECRET), ("alice", "x" * 100_000),
    ):  # fmt: skip
        answer = enter(server, user, password)
        assert answer.status == 401, user
        assert "no such user with this password" in answer.text
        assert "Set-Cookie" not in answer.headers


def test_every_login_has_a_session_of_its_own(server: Server, alice: str) -> None:
    first = enter(server, alice, SECRET).headers["Set-Cookie"].partition(";")[0]
    second = enter(server, alice, SECRET, Cookie=first).headers["Set-Cookie"].partition(";")[0]
    assert first != second
    assert server.ask("/", Cookie=first).status == 303, "who waited in the old one is out"
    assert server.ask("/", Cookie=second).status == 200


def test_who_is_disabled_does_not_come_in_however_right_the_password_is(server: Server, alice: str) -> None:
    cookie = enter(server, alice, SECRET).headers["Set-Cookie"].partition(";")[0]
    with server.database.write() as session:
        accounts.disable(session, alice, datetime.now(timezone.utc))
    assert server.ask("/", Cookie=cookie).status == 303
    assert enter(server, alice, SECRET).status == 401


def test_another_password_ends_the_sessions_of_the_old_one(server: Server, alice: str) -> None:
    cookie = enter(server, alice, SECRET).headers["Set-Cookie"].partition(";")[0]
    token = server.token(alice)
    with server.database.write() as session:
        accounts.set_password(session, alice, hashed("another long one"))
    assert server.ask("/", Cookie=cookie).status == 303
    assert enter(server, alice, SECRET).status == 401
    assert enter(server, alice, "another long one").status == 303
    assert server.ask("/api/v1/runs", token=token).status == 200, "tokens of programs are another thing"


def test_a_program_logs_in_and_gets_a_pair(server: Server, alice: str) -> None:
    def ask(path: str, **body: object) -> Answer:
        return server.ask(f"/api/v1{path}", method="POST", body=json.dumps(body).encode())

    pair = ask("/tokens:login", user=alice, password=SECRET, scopes=["read"])
    assert pair.status == 200
    assert server.ask("/api/v1/runs", token=pair.json["access_token"]).status == 200
    again = ask("/tokens:refresh", refresh_token=pair.json["refresh_token"]).json
    made = server.ask("/api/v1/tokens", method="POST", body=b'{"name": "x"}', token=again["access_token"])
    assert made.status == 403, "its scopes stay what they were"
    refused = ask("/tokens:login", user=alice, password="wrong")
    assert (refused.status, refused.json["code"]) == (401, "unauthenticated")


def test_who_guesses_has_to_wait_and_others_need_not(serve: Serve, alice: str) -> None:
    server = serve(login_limit="2/hour")
    assert [enter(server, alice, "wrong").status for _ in range(2)] == [401] * 2
    waiting = enter(server, "ALICE", SECRET)
    assert waiting.status == 429
    assert 3000 < int(waiting.headers["Retry-After"]) <= 3600
    assert enter(server, "bob", "wrong").status == 401
    body = json.dumps({"user": alice, "password": SECRET}).encode()
    assert server.ask("/api/v1/tokens:login", method="POST", body=body).status == 429
    assert [enter(server, f"user{number}", "wrong").status for number in range(6)][-1] == 429, "one address is enough"
    with server.database.read() as session:
        told = {(one.target, one.detail) for one in audit.find(session, action="login.refused").items}
    assert {("alice", "password"), ("bob", "password"), ("alice", "too many attempts")} <= told


def test_a_password_that_was_typed_as_a_name_is_not_written_down(server: Server, alice: str) -> None:
    enter(server, "my secret pass phrase", "")
    with server.database.read() as session:
        (entry,) = audit.find(session).items
    assert (entry.action, entry.target) == ("login.refused", "no name")


def test_unknown_names_cost_the_server_the_same_work(kept: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both answers verify one hash of the same costs; what time that takes is measured by nobody here."""
    verified: list[str] = []
    real = check_password._HASHER

    class Counting:
        def verify(self, hash: str, password: str) -> bool:
            verified.append(hash.rpartition("$")[0].rpartition("$")[0])
            return real.verify(hash, password)

    fits("warm", None)
    monkeypatch.setattr(check_password, "_HASHER", Counting())
    assert not fits("x", None)
    assert not fits("x", kept)
    assert fits(SECRET, kept)
    assert len(verified) == 3
    assert len(set(verified)) == 1


def test_a_password_has_ten_characters_and_a_thousand_at_most() -> None:
    for password in ("", "x" * 9, "x" * 1001):
        with pytest.raises(BadInput, match="10 to 1,000"):
            hashed(password)


def test_ways_that_there_are_not_are_told_at_the_start(serve: Serve) -> None:
    with pytest.raises(BadInput, match="there is no `kerberos`"):
        serve(logins="link kerberos")
    with pytest.raises(BadInput, match="login_limit"):
        serve(login_limit="often")


def test_a_way_that_is_closed_is_closed(serve: Serve, alice: str) -> None:
    links, passwords = serve(logins="link"), serve(logins="local")
    assert enter(links, alice, SECRET).status == 401
    assert passwords.ask(f"/login?token={passwords.token(purpose='login')}").status == 401
    assert "Password" not in links.ask("/login").text
    assert "tracker login" not in passwords.ask("/login").text


def test_the_page_asks_for_a_password_where_there_is_one(serve: Serve, alice: str, browser: Browser) -> None:
    server = serve()
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"{server.url}/runs")
    page.get_by_label("User").fill(alice)
    page.get_by_label("Password").fill("not this one")
    page.get_by_role("button", name="Log in").first.click()
    expect(page.get_by_role("alert")).to_have_text("There is no such user with this password.")
    expect(page.get_by_label("User")).to_have_value(alice)
    page.get_by_label("Password").fill(SECRET)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Runs")).to_be_visible()
    assert page.url == f"{server.url}/runs"
    (cookie,) = context.cookies()
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Lax")
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_role("heading", name="Log in")).to_be_visible()
    page.go_back()
    page.reload()
    expect(page.get_by_role("heading", name="Log in")).to_be_visible()
    context.close()
