"""People make tokens for their programs, see them, and take them away again."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tracker.store import audit, refreshes, tokens
from tracker.store.identity import Identity
from web.audit import Refusals

from . import samples
from .conftest import Answer, Server
from .test_login import logged_in


def post(server: Server, path: str, body: dict[str, Any] | None = None, **more: Any) -> Answer:
    return server.ask(f"/api/v1{path}", method="POST", body=json.dumps(body).encode() if body else b"", **more)


def actions(server: Server) -> list[str]:
    with server.database.read() as session:
        return [entry.action for entry in reversed(audit.find(session).items)]


def test_a_token_is_made_used_seen_and_revoked(server: Server) -> None:
    mine = {"Cookie": logged_in(server), "Origin": server.url}
    made = post(server, "/tokens", {"name": "notebook", "scopes": ["read"], "days": 7}, **mine)
    assert made.status == 201
    assert made.json["scopes"] == ["read"]
    secret, ident = made.json["token"], made.json["id"]
    assert server.ask("/api/v1/runs", token=secret).status == 200
    (listed,) = [one for one in server.ask("/api/v1/tokens", **mine).json["items"] if one["purpose"] == "api"]
    assert (listed["name"], listed["id"]) == ("notebook", ident)
    assert listed["last_used_at"] is not None
    assert secret not in json.dumps(listed)
    assert server.ask(f"/api/v1/tokens/{ident}", method="DELETE", **mine).status == 204
    assert server.ask("/api/v1/runs", token=secret).status == 401
    assert actions(server) == ["login", "token.create", "token.revoke", "refused"]


def test_who_reads_does_not_wait_for_who_writes(server: Server) -> None:
    """That a token was used is written down, but on SQLite one writes at a time, and may do so for long."""
    mine = {"Cookie": logged_in(server), "Origin": server.url}
    secret = post(server, "/tokens", {"name": "notebook", "scopes": ["read"], "days": 7}, **mine).json["token"]
    with server.database.write():
        assert server.ask("/api/v1/runs", token=secret).status == 200  # `ask` gives up as soon as the turn would come


@pytest.mark.parametrize(
    ("scopes", "reads", "changes"), [(["read"], 200, 403), (["write"], 403, 200), (["ingest"], 403, 403)]
)
def test_a_token_is_for_what_it_was_made_for(server: Server, scopes: list[str], reads: int, changes: int) -> None:
    with server.database.write() as session:
        run = samples.add_run(session, user="alice")
        secret = tokens.create(session, "alice", "user", tokens.API, scopes=scopes)
    path = f"/api/v1/runs/{run.id}"
    assert server.ask(path, token=secret).status == reads
    assert server.ask("/", token=secret).status == reads
    body = json.dumps({"name": "x"}).encode()
    assert server.ask(path, token=secret, method="PATCH", body=body).status == changes


def test_an_administrator_s_token_without_that_scope_is_a_user_s(server: Server) -> None:
    with server.database.write() as session:
        samples.add_run(session, user="alice")
        plain = tokens.create(session, "root", "admin", tokens.API, scopes=["read", "write"])
    assert server.ask("/api/v1/runs", token=plain).json["items"] == []
    assert server.ask("/api/v1/audit", token=plain).status == 403
    assert server.ask("/api/v1/tokens?all=true", token=plain).status == 403
    refused = post(server, "/tokens", {"name": "more", "scopes": ["admin"]}, token=plain)
    assert (refused.status, refused.json["code"]) == (403, "forbidden")


def test_what_a_token_makes_goes_with_it(server: Server) -> None:
    origin = server.token()
    made = post(server, "/tokens", {"name": "child", "days": None}, token=origin).json
    assert made["expires_at"] is not None, "it is not good for longer than where it comes from"
    link = post(server, "/tokens:login-link", token=origin).json["url"]
    assert link.startswith(f"{server.url}/login?token=")
    cookie = str(server.ask(link.removeprefix(server.url)).headers["Set-Cookie"]).partition(";")[0]
    assert server.ask("/runs", Cookie=cookie).status == 200
    server.ask(f"/api/v1/tokens/{tokens.id_of(origin)}", method="DELETE", token=origin)
    assert server.ask("/api/v1/runs", token=made["token"]).status == 401
    assert server.ask("/runs", Cookie=cookie).status == 303


def test_nobody_sees_or_revokes_tokens_of_others(server: Server) -> None:
    alices, bob = server.token("alice"), server.token("bob")
    ident = tokens.id_of(alices)
    assert server.ask("/api/v1/tokens?user=alice", token=bob).status == 403
    assert server.ask(f"/api/v1/tokens/{ident}", token=bob).status == 404
    assert server.ask(f"/api/v1/tokens/{ident}", method="DELETE", token=bob).status == 404
    assert server.ask("/api/v1/runs", token=alices).status == 200
    root = server.token("root", "admin")
    listed = server.ask("/api/v1/tokens?user=alice", token=root).json["items"]
    assert [one["id"] for one in listed] == [ident]
    assert server.ask(f"/api/v1/tokens/{ident}", method="DELETE", token=root).status == 204
    assert server.ask("/api/v1/runs", token=alices).status == 401


def test_an_agent_s_key_makes_no_tokens(server: Server) -> None:
    key = server.token("agent", "node", tokens.NODE)
    assert post(server, "/tokens", {"name": "x"}, token=key).status == 403
    assert post(server, "/tokens:login-link", token=key).status == 403
    assert server.ask("/api/v1/tokens", token=key).status == 403


def test_a_program_refreshes_its_access_and_a_thief_ends_it(server: Server) -> None:
    with server.database.write() as session:
        first = refreshes.begin(session, Identity("alice", "user"))
    assert server.ask("/api/v1/runs", token=first.access).status == 200
    assert server.ask("/api/v1/runs", token=first.refresh).status == 401
    second = post(server, "/tokens:refresh", {"refresh_token": first.refresh}).json
    assert (second["token_type"], second["expires_in"], second["refresh_expires_in"]) == ("Bearer", 1800, 604800)
    assert server.ask("/api/v1/runs", token=second["access_token"]).status == 200
    assert post(server, "/tokens:refresh", {"refresh_token": first.refresh}).status == 401
    assert server.ask("/api/v1/runs", token=second["access_token"]).status == 401
    assert post(server, "/tokens:refresh", {"refresh_token": second["refresh_token"]}).status == 401
    assert "token.reused" in actions(server)


def test_a_program_s_login_is_revoked_as_a_whole(server: Server) -> None:
    with server.database.write() as session:
        first = refreshes.begin(session, Identity("alice", "user"))
    second = post(server, "/tokens:refresh", {"refresh_token": first.refresh}).json
    mine = {"Cookie": logged_in(server), "Origin": server.url}
    (shown,) = [one for one in server.ask("/api/v1/tokens", **mine).json["items"] if one["purpose"] == "refresh"]
    assert server.ask(f"/api/v1/tokens/{shown['id']}", method="DELETE", **mine).status == 204
    for secret in (first.access, second["access_token"]):
        assert server.ask("/api/v1/runs", token=secret).status == 401
    assert post(server, "/tokens:refresh", {"refresh_token": second["refresh_token"]}).status == 401


@pytest.mark.parametrize("secret", ["", "x" * 300, "tr k", "\u00e9", "\x00"])
def test_no_refresh_token_is_none(server: Server, secret: str) -> None:
    assert post(server, "/tokens:refresh", {"refresh_token": secret}).status == 400
    assert post(server, "/tokens:refresh", {"refresh_token": "trk_wrong"}).status == 401


def test_knocking_does_not_fill_the_database() -> None:
    refusals = Refusals()
    assert sum(refusals.is_to_be_noted("192.0.2.1") for _ in range(200)) == 30
    assert sum(refusals.is_to_be_noted(f"192.0.2.{number}") for number in range(2, 250) for _ in range(30)) == 570


def test_refusals_are_written_down(server: Server) -> None:
    bob = server.token("bob")
    assert server.ask("/api/v1/audit", token=bob).status == 403
    server.ask("/api/v1/runs%1b", token="trk_wrong")
    told = server.ask("/api/v1/audit?action=refused&limit=500", token=server.token("root", "admin")).json["items"]
    assert len(told) == 2
    assert (told[-1]["actor"], told[-1]["target"]) == ("bob", "GET /api/v1/audit")
    assert told[-1]["detail"] == "The audit log is for administrators."
    assert (told[0]["actor"], told[0]["address"]) == ("", "127.0.0.1")
    assert told[0]["target"].isprintable()


def test_deletions_are_written_down(server: Server) -> None:
    with server.database.write() as session:
        runs = sorted(samples.add_run(session, user="alice", state="COMPLETED", took_s=1).id for _ in range(3))
    token = server.token("alice")
    assert server.ask(f"/api/v1/runs/{runs[0]}", method="DELETE", token=token).status == 204
    assert post(server, "/runs:delete", {"ids": runs[1:]}, token=token).status == 200
    with server.database.read() as session:
        many, one = audit.find(session, action="run.delete").items
    assert (one.actor, one.target, one.detail) == ("alice", runs[0], "of alice")
    assert (many.target, many.detail) == ("2 runs", " ".join(runs[1:]))
