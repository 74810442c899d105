"""A job's token lies in its folder for its user alone, however that user behaves meanwhile."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.agent.conftest import NOBODY, Node
from tests.agent.faulty_server import FaultyServer
from tests.conftest import wait_until
from tracker.agent.spool import JobSpools
from tracker.client.keys import Keys, ways


def test_each_job_gets_its_token_for_its_user_alone(node: Node, server: FaultyServer) -> None:
    server.job_tokens = {"dev.12": "trj_of.12", "dev.13": "trj_of.13"}
    node.write(range(2))
    node.write(range(2), folder="dev.14")
    with node.agent():
        wait_until(lambda: (node.job() / "token").exists())
        node.write(range(2), folder="dev.13", uid=1)
        wait_until(lambda: (node.job("dev.13", 1) / "token").exists())
    for folder, uid, content in (("dev.12", NOBODY, "trj_of.12\n"), ("dev.13", 1, "trj_of.13\n")):
        file = node.spool / "jobs" / folder / "token"
        status = file.stat()
        assert (status.st_uid, stat.S_IMODE(status.st_mode), file.read_text()) == (uid, 0o400, content)
    assert not (node.spool / "jobs" / "dev.14" / "token").exists()
    assert server.manifests[0]["tokens_of"] == {"dev.12": "nobody", "dev.14": "nobody"}


def test_a_program_of_the_job_finds_it(node: Node, server: FaultyServer) -> None:
    server.job_tokens = {"dev.12": "trj_of.12"}
    node.write(range(2))
    node.ship()
    env = {"SLURM_CLUSTER_NAME": "dev", "SLURM_JOB_ID": "12", "TRACKER_SPOOL": str(node.job()), "HOME": "/nowhere"}
    assert Keys(ways(server.url, env)).token() == "trj_of.12"
    other = {**env, "SLURM_JOB_ID": "13"}  # a job that was submitted from this one inherits its environment
    assert Keys(ways(server.url, other)).token() is None


def test_an_agent_that_logs_in_by_munge_gives_none(node: Node, server: FaultyServer) -> None:
    node.write(range(2))
    server.job_tokens = {"dev.12": "trj_of.12"}
    os.mkfifo(node.folder / "socket")  # enough to be tried
    assert "MUNGE gives no credential" in node.ship(exit_code=1, TRACKER_MUNGE_SOCKET=str(node.folder / "socket"))
    assert server.manifests == []


@pytest.mark.parametrize(
    "token", ["", "two words", "a\nb", "\x1b[2J", "x" * 1001, 1, None, ["x"], "ü"]
)  # fmt: skip
def test_what_is_no_token_is_not_written(node: Node, server: FaultyServer, token: str) -> None:
    server.job_tokens = {"dev.12": token}
    node.write(range(2))
    node.ship()
    assert sorted(path.name for path in node.job().iterdir()) == ["w1.jsonl"]


def _symlink(path: Path, secret: Path) -> None:
    path.symlink_to(secret)


def _hard_link(path: Path, secret: Path) -> None:
    os.link(secret, path)


def _fifo(path: Path, secret: Path) -> None:
    os.mkfifo(path)


def _folder(path: Path, secret: Path) -> None:
    path.mkdir()
    (path / "inside").touch()


def _link_to_folder(path: Path, secret: Path) -> None:
    path.symlink_to(secret.parent)


@pytest.mark.parametrize("plant", [_symlink, _hard_link, _fifo, _folder, _link_to_folder])
@pytest.mark.parametrize("name", ["token", ".token.new"])
def test_what_is_planted_in_its_place_is_neither_written_nor_given_away(
    node: Node, server: FaultyServer, name: str, plant: Callable[[Path, Path], None]
) -> None:
    secret = node.folder / "secret"
    secret.write_text("root's")
    secret.chmod(0o600)
    plant(node.job() / name, secret)
    server.job_tokens = {"dev.12": "trj_of.12", "dev.13": "trj_of.13"}
    node.write(range(2))
    node.write(range(2), folder="dev.13")
    node.ship()
    status = secret.stat()
    assert (secret.read_text(), status.st_uid, stat.S_IMODE(status.st_mode)) == ("root's", 0, 0o600)
    assert (node.spool / "jobs" / "dev.13" / "token").read_text() == "trj_of.13\n"


# The draft's name becomes a link to root's file, a FIFO, and the user's own file again, all the time.
SWAPS = """
import os, sys
folder, secret = sys.argv[1:]
os.setresuid(65534, 65534, 65534)
os.chdir(folder)
turn = 0
while True:
    turn += 1
    for name in (".token.new", "token"):
        try: os.unlink("new")
        except OSError: pass
        if turn % 3 == 0: os.symlink(secret, "new")
        elif turn % 3 == 1: os.mkfifo("new")
        else: open("new", "w").close()
        try: os.rename("new", name)
        except OSError: pass
"""


def test_nor_is_what_is_swapped_in_while_it_is_written(node: Node) -> None:
    secret = node.folder / "secret"
    secret.write_text("root's")
    secret.chmod(0o600)
    node.write(range(2))
    spools = JobSpools(str(node.spool))
    with subprocess.Popen([sys.executable, "-c", SWAPS, str(node.job()), str(secret)]) as swapping:
        wait_until(lambda: os.path.lexists(node.job() / "token"))
        seen = spools.look("dev.12")
        assert seen is not None
        given = [spools.give_token(seen, f"trj_{turn}") for turn in range(3000)]
        assert swapping.poll() is None
        swapping.kill()
    assert True in given
    status = secret.stat()
    assert (secret.read_text(), status.st_uid, stat.S_IMODE(status.st_mode)) == ("root's", 0, 0o600)
