"""What a program shows a server: what it was given, else what this home, this job or MUNGE has for that server."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tracker.client.keys import Keys, ways
from tracker.credentials import server_name
from tracker.errors import Unauthenticated

HERE, THERE = "http://127.0.0.1:8265", "https://tracker.example.org"


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """A home with a server of its own, and a job with a token of its own."""
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "api.token").write_text("trk_home\n")
    (tmp_path / "server.json").write_text(json.dumps({"url": HERE}))
    folder = tmp_path / "spool" / "jobs" / "dev.12"
    folder.mkdir(parents=True)
    (folder / "token").write_text("trj_job\n")
    return {"TRACKER_HOME": str(tmp_path), "SLURM_CLUSTER_NAME": "dev", "SLURM_JOB_ID": "12"}


def shown(url: str, env: dict[str, str]) -> list[str | None]:
    """All that is tried, one after the other, if the server takes none."""
    keys, found = Keys(ways(url, env)), []
    while (token := keys.token()) is not None:
        found.append(token)
        keys.refused()
    return found


def test_what_was_given_counts_alone(env: dict[str, str]) -> None:
    assert shown(HERE, {**env, "TRACKER_TOKEN": "trk_given"}) == ["trk_given"]


def test_the_server_of_this_home_is_shown_the_home_s_token_first(env: dict[str, str]) -> None:
    assert shown(HERE, env) == ["trk_home", "trj_job"]


def test_another_one_is_shown_the_job_s(env: dict[str, str]) -> None:
    assert shown(THERE, env) == ["trj_job", "trk_home"]
    assert shown(THERE, {**env, "SLURM_JOB_ID": "13"}) == ["trk_home"]


def test_nobody_has_anything_to_show(tmp_path: Path) -> None:
    assert shown(HERE, {"TRACKER_HOME": str(tmp_path)}) == []


@pytest.mark.parametrize("plant", [os.mkfifo, os.mkdir, lambda path: path.write_bytes(b"\xff" * 10_000)])
def test_what_is_no_token_is_passed_over(env: dict[str, str], plant: object) -> None:
    token = Path(env["TRACKER_HOME"]) / "spool" / "jobs" / "dev.12" / "token"
    token.unlink()
    plant(token)  # type: ignore[operator]
    assert shown(THERE, env) == ["trk_home"]


def test_munge_that_gives_nothing_says_why(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "socket")  # seems to be there
    env = {"TRACKER_HOME": str(tmp_path), "TRACKER_MUNGE_SOCKET": str(tmp_path / "socket")}
    with pytest.raises(Unauthenticated, match="MUNGE gives no credential"):
        Keys(ways(THERE, env)).token()


def test_a_server_has_one_name_however_its_address_is_written() -> None:
    assert server_name("https://Tracker.Example.org/") == server_name("https://tracker.example.org:443")
    assert server_name("https://tracker.example.org/hpc/") == "https://tracker.example.org:443/hpc"
    names = [server_name(url) for url in (HERE, "http://localhost:8265", "http://[::1]:8265", "http://0.0.0.0:8265")]
    assert len(set(names)) == 4
    assert all(name.endswith(f" on {os.uname().nodename}") for name in names)
    for url in ("", "tracker.example.org", "ftp://x", "http://", "http://x:99999", "http://[x"):
        with pytest.raises(ValueError):
            server_name(url)
