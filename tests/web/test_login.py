"""Who gets in, and who does not."""

from __future__ import annotations

import re
from urllib.parse import quote

import pytest

from tracker.store import tokens

from .conftest import Server


def _cookie(server: Server, user: str = "alice", role: str = "user") -> str:
    answer = server.ask(f"/login?token={server.token(user, role, tokens.LOGIN)}")
    assert answer.status == 303
    return str(answer.headers["Set-Cookie"]).partition(";")[0]


def test_a_page_sends_a_stranger_to_the_login_and_back(server: Server) -> None:
    answer = server.ask("/runs?user=bob")
    assert answer.status == 303
    assert answer.headers["Location"] == "/login?next=/runs?user%3Dbob"


@pytest.mark.parametrize("path", ["/api/v1/runs", "/api/v1/ingest", "/api/v1/nothing", "/metrics", "/?fragment=1"])
def test_a_program_without_token_gets_a_problem_document(server: Server, path: str) -> None:
    answer = server.ask(path)
    assert answer.status == 401
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json["code"] == "unauthenticated"


@pytest.mark.parametrize("secret", ["", "trk_wrong", "\u00e9", "x" * 5000])
def test_a_wrong_token_opens_nothing(server: Server, secret: str) -> None:
    told = {"Authorization": f"Bearer {secret}".encode().decode("latin-1")}
    assert server.ask("/api/v1/runs", **told).status == 401
    assert server.ask("/", **told).status == 401


def test_a_token_for_logging_in_does_not_open_the_api(server: Server) -> None:
    assert server.ask("/api/v1/runs", token=server.token(purpose=tokens.LOGIN)).status == 401
    assert server.ask("/api/v1/runs", token=server.token(purpose=tokens.SESSION)).status == 401
    assert server.ask("/api/v1/runs", token=server.token()).status == 200


def test_a_login_link_works_once(server: Server) -> None:
    link = f"/login?token={server.token(purpose=tokens.LOGIN)}"
    assert server.ask(link, method="HEAD").status == 200  # the preview of a chat program
    first, second = server.ask(link), server.ask(link)
    assert (first.status, first.headers["Location"]) == (303, "/")
    assert second.status == 401
    assert "not valid any more" in second.text


def test_the_cookie_is_kept_from_scripts_and_other_sites(server: Server) -> None:
    answer = server.ask(f"/login?token={server.token(purpose=tokens.LOGIN)}")
    assert all(word in answer.headers["Set-Cookie"] for word in ("HttpOnly", "SameSite=Lax", "Path=/"))


def test_a_pasted_link_logs_in(server: Server) -> None:
    pasted = f"token=http://n1:8265/login?token={server.token(purpose=tokens.LOGIN)}".encode()
    answer = server.ask("/login", method="POST", body=pasted, Origin=server.url)
    assert answer.status == 303
    cookie = answer.headers["Set-Cookie"].partition(";")[0]
    assert server.ask("/", Cookie=cookie).status == 200


@pytest.mark.parametrize(
    "back", ["https://evil.example", "//evil.example", "/\\evil.example", "javascript:alert(1)", "/\t/evil.example"]
)
def test_a_login_never_leads_to_another_site(server: Server, back: str) -> None:
    asked = quote(back, safe="")
    answer = server.ask(f"/login?token={server.token(purpose=tokens.LOGIN)}&next={asked}")
    assert answer.headers["Location"] == "/"


def test_a_login_leads_back_to_where_one_wanted_to_go(server: Server) -> None:
    answer = server.ask(f"/login?token={server.token(purpose=tokens.LOGIN)}&next=/runs?user%3Dbob")
    assert answer.headers["Location"] == "/runs?user=bob"


def test_logging_out_ends_the_session(server: Server) -> None:
    cookie = _cookie(server)
    assert server.ask("/", Cookie=cookie).status == 200
    assert server.ask("/logout", method="POST", body=b"", Cookie=cookie, Origin=server.url).status == 303
    assert server.ask("/", Cookie=cookie).status == 303


@pytest.mark.parametrize(
    "told", [{"Sec_Fetch_Site": "cross-site"}, {"Origin": "https://evil.example"}, {"Origin": "null"}, {}]
)
def test_a_page_of_another_site_cannot_act_for_me(server: Server, told: dict[str, str]) -> None:
    cookie = _cookie(server)
    answer = server.ask("/logout", method="POST", body=b"", Cookie=cookie, **told)
    assert answer.status == 403
    assert server.ask("/", Cookie=cookie).status == 200


def test_under_a_prefix_cookie_and_links_keep_to_it(prefixed_server: Server) -> None:
    assert prefixed_server.ask("/").headers["Location"] == "/hpc/tracker/login"
    answer = prefixed_server.ask(f"/login?token={prefixed_server.token(purpose=tokens.LOGIN)}&next=/runs")
    assert answer.headers["Location"] == "/hpc/tracker/runs"
    assert "Path=/hpc/tracker" in answer.headers["Set-Cookie"]
    cookie = answer.headers["Set-Cookie"].partition(";")[0]
    page = prefixed_server.ask("/", Cookie=cookie).text
    assert all(link.startswith(("/hpc/tracker/", "#")) for link in _links(page))


def _links(page: str) -> list[str]:
    return re.findall(r'(?:href|src|action|data-fragment)="([^"]+)"', page)


@pytest.mark.parametrize("path", ["/login", "/healthz", "/static/css/base.css", "/api/v1/runs", "/nothing"])
def test_every_answer_carries_the_policy(server: Server, path: str) -> None:
    headers = server.ask(path).headers
    assert headers["Content-Security-Policy"].startswith("default-src 'none'; script-src 'self';")
    assert headers["X-Content-Type-Options"] == "nosniff"
