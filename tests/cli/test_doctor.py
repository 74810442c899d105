"""`tracker doctor`: one line for each part, and the way out where one is missing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.munged import running
from tests.slurm.replay import RECORDINGS
from tracker.cli.commands import cli
from tracker.store.database import Database


def test_without_slurm_it_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    url = f"sqlite:///{tmp_path}/a.db"
    database = Database(url)
    database.upgrade()
    database.close()
    answer = CliRunner().invoke(cli, ["doctor", "--database", url])
    assert answer.exit_code == 1
    assert [line for line in answer.stdout.splitlines() if " gpus: " not in line] == [
        "ok       database: answers, and has the tables of this version",
        "missing  slurm: There is no command `scontrol` here: is Slurm's client installed?",
    ]


def test_it_says_what_the_cluster_lacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cluster is a recorded one, whose commands print what they printed."""
    answers = json.loads((RECORDINGS / "22.05" / "commands.json").read_text())
    told = {one["command"]: one["answer"] for one in reversed(answers) if one["command"] in ("scontrol", "squeue")}
    (tmp_path / "scontrol.txt").write_text(told["scontrol"])
    (tmp_path / "scontrol").write_text(f"#!/bin/sh\nexec /bin/cat {tmp_path}/scontrol.txt\n")
    (tmp_path / "squeue").write_text("#!/bin/sh\n")
    for command in ("scontrol", "squeue"):
        (tmp_path / command).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("TRACKER_WATCH_USERS", "self")
    answer = CliRunner().invoke(cli, ["doctor", "--database", f"sqlite:///{tmp_path}/a.db", "--json"])
    assert {one["name"]: one["ok"] for one in json.loads(answer.stdout) if one["name"] != "gpus"} == {
        "database": False, "slurm": True, "hooks": False, "others": False,
    }  # fmt: skip


def test_it_says_whether_munge_works_where_it_should(tmp_path: Path) -> None:
    def told(socket: object) -> list[str]:
        env = {"TRACKER_LOGINS": "link munge", "TRACKER_MUNGE_SOCKET": str(socket)}
        answer = CliRunner().invoke(cli, ["doctor", "--database", f"sqlite:///{tmp_path}/a.db"], env=env)
        return [line for line in answer.stdout.splitlines() if " munge: " in line]

    with running() as munged:
        assert told(munged.socket) == ["ok       munge: tells that this is the user with the uid 0"]
    (line,) = told(tmp_path / "nowhere")
    assert line.startswith("missing  munge: munged does not answer")
