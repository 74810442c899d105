"""Accounts, tokens and the audit log by the command line, with the database at hand and without."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Templates

from .test_up import TRACKER, Up, start  # noqa: F401  # a fixture


class Shell:
    """Somebody's shell."""

    def __init__(self, home: Path, **environ: str) -> None:
        self.env = {**os.environ, "TRACKER_HOME": str(home), **environ}

    def run(self, *words: str, said: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*TRACKER, *words], env=self.env, input=said, capture_output=True, text=True, check=False, timeout=60
        )

    def said(self, *words: str, said: str = "") -> str:
        done = self.run(*words, said=said)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def json(self, *words: str) -> Any:
        return json.loads(self.said(*words, "--json"))


@pytest.fixture
def shell(tmp_path: Path, templates: Templates) -> Shell:
    """With a database in its home."""
    templates.sqlite(tmp_path / "tracker.db")
    return Shell(tmp_path)


def test_accounts_are_made_changed_and_disabled_and_all_of_it_is_noted(shell: Shell) -> None:
    assert shell.said("user", "add", "alice", "--password-stdin", said="correct horse battery\n")
    assert shell.said("user", "add", "carol", "--role", "admin", "--no-password")
    assert shell.said("user", "password", "alice", "--password-stdin", said="another long one\n")
    assert shell.said("user", "role", "alice", "admin")
    assert shell.said("user", "disable", "bob")
    assert shell.said("user", "enable", "bob")
    told = {one["user"]: (one["role"], one["password"], one["disabled_at"]) for one in shell.json("user", "ls")}
    assert told == {"alice": ("admin", True, None), "bob": ("user", False, None), "carol": ("admin", False, None)}
    assert "alice" in shell.said("user", "ls")
    noted = [(one["action"], one["target"]) for one in reversed(shell.json("audit", "--action", "user."))]
    assert noted == [
        ("user.add", "alice"), ("user.add", "carol"), ("user.password", "alice"), ("user.role", "alice"),
        ("user.disable", "bob"), ("user.enable", "bob"),
    ]  # fmt: skip
    assert "correct horse" not in json.dumps(shell.json("audit"))


@pytest.mark.parametrize(
    ("words", "said", "sentence"),
    [
        (["user", "add", "../root", "--no-password"], "", "A user's name is up to 64 letters"),
        (["user", "add", "alice", "--password-stdin"], "short\n", "10 to 1,000 characters"),
        (["user", "password", "nobody", "--password-stdin"], "correct horse battery", "no account `nobody`"),
        (["token", "revoke", "0123456789abcdef"], "", "There is no token"),
    ],
)
def test_what_cannot_be_is_told_in_a_sentence(shell: Shell, words: list[str], said: str, sentence: str) -> None:
    done = shell.run(*words, said=said)
    assert done.returncode == 1
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_tokens_are_made_with_scopes_listed_and_revoked(shell: Shell) -> None:
    secret = shell.said("token", "create", "--name", "notebook", "--scope", "read", "--days", "7")
    shell.said("token", "create", "--agent")
    (mine,) = shell.json("token", "ls")
    assert (mine["name"], mine["scopes"], mine["last_used_at"]) == ("notebook", ["read"], None)
    assert {one["purpose"] for one in shell.json("token", "ls", "--all")} == {"api", "node"}
    assert secret not in shell.said("token", "ls", "--all")
    shell.said("token", "revoke", mine["id"])
    assert shell.json("token", "ls") == []


def test_where_there_is_no_database_the_server_is_asked(start: Callable[..., Up], tmp_path: Path) -> None:  # noqa: F811
    up = start()
    token = up.command("token", "create", "--user", "alice").stdout.strip()
    away = Shell(tmp_path / "away", TRACKER_URL=up.url, TRACKER_TOKEN=token)
    made = away.said("token", "create", "--name", "laptop", "--scope", "read")
    told = away.json("token", "ls")
    assert {(one["user"], one["name"]) for one in told} == {("alice", "laptop"), ("alice", None)}
    link = away.said("login")
    assert link.startswith(f"{up.url}/login?token=")
    (ident,) = [one["id"] for one in told if one["name"] == "laptop"]
    away.said("token", "revoke", ident)
    assert Shell(tmp_path / "away", TRACKER_URL=up.url, TRACKER_TOKEN=made).run("token", "ls").returncode == 1
    assert "made where the database is" in away.run("token", "create", "--agent").stderr
