"""Who gets in, and who does not."""

from __future__ import annotations

import re
from urllib.parse import quote, urlsplit

import pytest

from tracker.settings import Settings
from tracker.store import tokens
from tracker.store.database import Database
from web import create_app

from . import samples
from .conftest import Server


def logged_in(server: Server, user: str = "alice", role: str = "user") -> str:
    """The cookie of somebody who logged in by link."""
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


ELSEWHERE = (
    "https://evil.example", "//evil.example", "/\\evil.example", "javascript:alert(1)", "/\t/evil.example",
    "///evil.example", "\\/\\/evil.example", "/\r\nLocation: https://evil.example", " //evil.example",
    "http:evil.example", "evil.example", "/\x00/evil.example", "/\u2044/evil.example", "/\x85/evil.example",
)  # fmt: skip


def test_a_login_never_leads_to_another_site(server: Server) -> None:
    for back in ELSEWHERE:
        asked = quote(back, safe="")
        answer = server.ask(f"/login?token={server.token(purpose=tokens.LOGIN)}&next={asked}")
        assert answer.headers["Location"] == "/", back


def test_a_login_leads_back_to_where_one_wanted_to_go(server: Server) -> None:
    answer = server.ask(f"/login?token={server.token(purpose=tokens.LOGIN)}&next=/runs?user%3Dbob")
    assert answer.headers["Location"] == "/runs?user=bob"


def test_logging_out_ends_the_session(server: Server) -> None:
    cookie = logged_in(server)
    assert server.ask("/", Cookie=cookie).status == 200
    assert server.ask("/logout", method="POST", body=b"", Cookie=cookie, Origin=server.url).status == 303
    assert server.ask("/", Cookie=cookie).status == 303


FOREIGN: tuple[dict[str, str], ...] = (
    {"Sec_Fetch_Site": "cross-site"}, {"Origin": "https://evil.example"}, {"Origin": "null"}, {},
    {"Sec_Fetch_Site": "same-site"},  # another host of the same domain, or another port of this one
    {"Sec_Fetch_Site": "cross-site", "Origin": "SAME"},  # the newer word counts
    {"Sec_Fetch_Site": "same-origin, cross-site"}, {"Sec_Fetch_Site": ""}, {"Origin": ""},
    {"Origin": "SAME.evil.example"}, {"Origin": "http://evil.example@HOST"}, {"Origin": "http://evil.example/#HOST"},
    {"Referer": "SAME"}, {"X_HTTP_Method_Override": "GET"}, {"Authorization": "Basic eDp5"},
    {"Content_Type": "text/plain"}, {"X_Forwarded_Host": "evil.example", "Origin": "http://evil.example"},
)  # fmt: skip


def test_a_page_of_another_site_cannot_act_for_me(server: Server) -> None:
    cookie, host = logged_in(server), urlsplit(server.url).netloc
    for told in FOREIGN:
        headers = {name: value.replace("SAME", server.url).replace("HOST", host) for name, value in told.items()}
        answer = server.ask("/logout", method="POST", body=b"", Cookie=cookie, **headers)
        assert answer.status == 403, told
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


def test_a_foreign_site_cannot_log_anybody_in_by_a_form(server: Server) -> None:
    """Else a victim would work in the attacker's account without noticing."""
    body = f"token={server.token(purpose=tokens.LOGIN)}".encode()
    assert server.ask("/login", method="POST", body=body, Origin="https://evil.example").status == 403
    assert server.ask("/login", method="POST", body=body, Origin=server.url).status == 303


def test_on_https_no_other_host_can_give_somebody_a_cookie(db: Database) -> None:
    with db.write() as session:
        links = [tokens.create(session, "alice", "user", tokens.LOGIN) for _ in range(2)]
    client = create_app(Settings(), db).test_client()
    answer = client.get(f"/login?token={links[0]}", base_url="https://tracker.example.org")
    cookie = answer.headers["Set-Cookie"]
    assert cookie.startswith("__Host-tracker_https=trk_")
    assert all(f"; {word}" in cookie for word in ("Secure", "HttpOnly", "Path=/", "SameSite=Lax"))
    assert "Domain" not in cookie
    assert answer.headers["Strict-Transport-Security"] == "max-age=31536000"
    under = client.get(
        f"/login?token={links[1]}",
        base_url="https://tracker.example.org/hpc",
        environ_overrides={"SCRIPT_NAME": "/hpc"},
    )
    assert under.headers["Set-Cookie"].startswith("__Secure-tracker_https=trk_")
    plain = client.get("/login")
    assert "Strict-Transport-Security" not in plain.headers


def test_tricks_with_cookies_open_nothing(server: Server) -> None:
    secret, port = logged_in(server).partition("=")[2], urlsplit(server.url).port
    mine = f"tracker_{port}"
    for cookie in (
        f"tracker_http={secret}", f"tracker_1={secret}", f"T{mine[1:]}={secret}", f"{mine} ={secret}x",
        f"{mine}=x; {mine}={secret}", f"__Host-{mine}={secret}",
    ):  # fmt: skip
        assert server.ask("/api/v1/runs", Cookie=cookie).status == 401, cookie


def test_no_page_has_a_script_or_a_style_in_it(server: Server) -> None:
    with server.database.write() as session:
        run = samples.busy_afternoon(session)["running"]
    cookie = logged_in(server, "root", "admin")
    pages = ["/", "/runs", "/experiments", "/cluster", "/gpus", f"/runs/{run.id}", f"/runs/{run.id}/code", "/nothing"]
    for path in [*pages, "/login", "/login?token=x"]:
        answer = server.ask(path, Cookie=cookie)
        assert answer.headers["Content-Type"].startswith("text/html"), path
        tags = re.findall(r"<[a-z][^>]*>", answer.text)
        assert tags
        assert [
            one for one in tags if re.match(r"<script(?![^>]* src=)|<style|<[^>]*\s(style|on[a-z]+)\s*=", one)
        ] == [], path
        policy = answer.headers["Content-Security-Policy"]
        assert "unsafe" not in policy and "default-src 'none'" in policy and "frame-ancestors 'self'" in policy
        assert answer.headers["Referrer-Policy"] == "same-origin"
