"""The agent is root, and users own the job folders: nothing in there can make it show or touch what is not theirs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.agent.conftest import NOBODY, Node
from tests.agent.faulty_server import FaultyServer, Handler
from tests.agent.test_lifecycle import make_quiet
from tests.conftest import ROOT, wait_until
from tracker.agent import spool
from tracker.agent.backlog import Backlog

SECRET = b'{"metrics":{"secret":1},"step":0}\n'


@pytest.fixture
def secret(node: Node) -> Path:
    file = node.folder / "secret.jsonl"
    file.write_bytes(SECRET)
    file.chmod(0o600)
    return file


def _plant_symlink(folder: Path, secret: Path) -> None:
    (folder / "evil.jsonl").symlink_to(secret)


def _plant_hard_link(folder: Path, secret: Path) -> None:
    os.link(secret, folder / "evil.jsonl")


def _plant_own_hard_link(folder: Path, secret: Path) -> None:
    os.chown(secret, NOBODY, NOBODY)
    os.link(secret, folder / "evil.jsonl")


def _plant_foreign_file(folder: Path, secret: Path) -> None:
    (folder / "evil.jsonl").write_bytes(SECRET)


def _plant_fifo(folder: Path, secret: Path) -> None:
    os.mkfifo(folder / "evil.jsonl")
    os.chown(folder / "evil.jsonl", NOBODY, NOBODY)


def _plant_device(folder: Path, secret: Path) -> None:
    subprocess.run(["mknod", folder / "evil.jsonl", "c", "1", "5"], check=True)
    os.chown(folder / "evil.jsonl", NOBODY, NOBODY)


def _plant_folder(folder: Path, secret: Path) -> None:
    (folder / "evil.jsonl").mkdir()


def _plant_odd_names(folder: Path, secret: Path) -> None:
    for name in ("a b", "x" * 65, "ü", "a\nb", ".hidden", ""):
        (folder / f"{name}.jsonl").write_bytes(SECRET)
        os.chown(folder / f"{name}.jsonl", NOBODY, NOBODY)


@pytest.mark.parametrize(
    "plant",
    [
        _plant_symlink,
        _plant_hard_link,
        _plant_own_hard_link,
        _plant_foreign_file,
        _plant_fifo,
        _plant_device,
        _plant_folder,
        _plant_odd_names,
    ],
)
def test_what_a_user_planted_is_not_read_and_hinders_nobody(
    node: Node, server: FaultyServer, secret: Path, plant: Callable[[Path, Path], None]
) -> None:
    node.write(range(3))
    node.write(range(3), folder="dev.13")
    plant(node.job(), secret)
    node.ship()
    assert sorted(server.files) == [("dev.12", "w1"), ("dev.13", "w1")]
    assert b"secret" not in b"".join(server.files.values())


# What stands under one name changes a thousand times a second: the user's file, links to one of root's, a FIFO.
SWAPS = """
import os, sys
folder, secret = sys.argv[1:]
os.setresuid(65534, 65534, 65534)
os.chdir(folder)
turn = 0
while True:
    turn += 1
    if turn % 4 == 0: os.symlink(secret, "new")
    elif turn % 4 == 1: os.mkfifo("new")
    elif turn % 4 == 2: os.symlink("/dev/zero", "new")
    else:
        with open("new", "w") as file: file.write('{"metrics":{"own":1},"step":0}\\n')
    os.rename("new", "evil.jsonl")
"""


def test_whose_files_change_while_they_are_read_shows_nothing_but_their_own(
    node: Node, server: FaultyServer, secret: Path
) -> None:
    command = [sys.executable, "-c", SWAPS, str(node.job()), str(secret)]
    with subprocess.Popen(command) as swapping, node.agent():
        for step in range(20):
            node.write(range(step, step + 1), folder="dev.13")
            wait_until(lambda step=step: len(server.steps("dev.13")) > step)
        assert swapping.poll() is None
        swapping.kill()
    assert b"secret" not in b"".join(server.files.values())


def test_a_folder_that_is_a_symbolic_link_is_not_entered(node: Node, server: FaultyServer, secret: Path) -> None:
    (node.spool / "jobs" / "dev.12").symlink_to(secret.parent)
    (node.spool / "jobs" / "dev.13").write_bytes(SECRET)
    node.write(range(2), folder="dev.14")
    node.ship()
    assert list(server.files) == [("dev.14", "w1")]


def test_folders_with_other_names_are_left_alone(node: Node, server: FaultyServer) -> None:
    for name in ("dev", "dev.012", "dev.-1", "local.12345x", "..dev.1", "a b.1", "dev.1.2"):
        node.write(range(2), folder=name)
    node.ship()
    assert server.files == {}


def test_releasing_removes_links_and_not_what_they_point_to(node: Node, server: FaultyServer, secret: Path) -> None:
    server.release = {"dev.12", "dev.13"}
    node.write(range(2))
    (node.job() / "link").symlink_to(secret)
    (node.job() / "dir-link").symlink_to(secret.parent)
    node.write(range(2), folder="dev.13")
    (node.job("dev.13") / "folder").mkdir()
    with node.agent():
        wait_until(lambda: not (node.spool / "jobs" / "dev.12").exists())
    assert secret.read_bytes() == SECRET
    assert (node.spool / "jobs" / "dev.13" / "folder").is_dir()


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o775])
def test_a_spool_where_others_may_make_folders_is_refused(node: Node, server: FaultyServer, mode: int) -> None:
    node.write(range(2))
    (node.spool / "jobs").chmod(mode)
    assert "chmod go-w" in node.ship(exit_code=1)
    assert server.files == {}


def test_a_spool_of_somebody_else_is_refused(node: Node, server: FaultyServer) -> None:
    os.chown(node.spool / "jobs", NOBODY, NOBODY)
    assert "chown 0" in node.ship(exit_code=1)
    assert server.files == {}


def test_a_million_files_do_not_hold_up_other_jobs(node: Node, server: FaultyServer) -> None:
    for number in range(5000):  # as many as make the point in a test's time
        (node.job() / f"f{number}.jsonl").touch()
        os.chown(node.job() / f"f{number}.jsonl", NOBODY, NOBODY)
    node.write(range(3), folder="dev.13")
    node.ship()
    assert server.steps("dev.13") == [0, 1, 2]


def test_a_folder_too_large_to_be_seen_whole_is_never_removed(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "MOST_ENTRIES", 10)
    for number in range(12):
        node.write(range(2), writer=f"w{number}")
    spools = spool.JobSpools(str(node.spool))
    backlog = Backlog(spools)
    backlog.look()
    assert ["cannot be seen whole" in sentence for sentence in backlog.oddities()] == [True]
    assert list(backlog.oddities()) == []
    seen = backlog.folders["dev.12"]
    assert (len(seen.sizes), seen.is_whole) == (10, False)
    assert not spools.remove(seen)
    assert len(list(node.job().iterdir())) == 12


def test_the_files_of_many_ranks_are_all_shipped(node: Node, server: FaultyServer) -> None:
    for number in range(450):
        node.write(range(2), writer=f"w{number}")
    node.ship()
    assert len(server.files) == 450


def test_a_job_that_writes_without_end_is_shipped_up_to_the_limit_and_told(node: Node, server: FaultyServer) -> None:
    node.append(b'{"metrics":{"junk":1}}\n' * 100_000, "dev.13")  # 2.3 MB
    node.write(range(100))
    node.ship("--spool-limit", "500KB")
    assert server.steps("dev.12") == list(range(100))
    shipped = len(server.files["dev.13", "w1"])
    assert 500 * 1024 <= shipped <= 1024 * 1024
    assert server.left_out == {"dev.13": 2_300_000 - shipped}
    server.release = {"dev.12", "dev.13"}
    long_ago = time.time() - 300
    for path in (*(node.spool / "jobs").glob("*/*"), *(node.spool / "jobs").glob("*")):
        os.utime(path, (long_ago, long_ago))
    with node.agent("--spool-limit", "500KB"):
        wait_until(lambda: not list((node.spool / "jobs").iterdir()), what="both folders are removed")


def test_a_hole_of_a_terabyte_is_not_shipped_and_hinders_nobody(node: Node, server: FaultyServer) -> None:
    node.write(range(3))
    os.truncate(node.job() / "w1.jsonl", 2**40)
    node.write(range(3), folder="dev.13")
    node.ship()
    assert (server.steps("dev.12"), server.steps("dev.13")) == ([0, 1, 2], [0, 1, 2])
    assert sum(part["length"] for manifest in server.manifests for part in manifest["parts"]) < 1000


def test_the_codes_of_a_terminal_do_not_reach_the_administrators(node: Node, server: FaultyServer) -> None:
    def answers_with_codes(handler: Handler) -> None:
        handler.answer(500, json.dumps({"detail": "away\n\x1b[2Jtracker agent: all is well\x9b1m"}).encode())

    server.faults.extend([answers_with_codes] * 4)
    said = node.ship(exit_code=1)
    assert "away??[2Jtracker agent: all is well?1m\n" in said
    assert said.isascii()


# As a file system does that fails: the file's size is known, its bytes are not.
SICK = """
import os, sys
import tracker.agent.backlog as backlog, tracker.agent.main as main
pread, backlog._UNREAD_S = os.pread, 0.1
def fails(file, length, offset):
    if os.path.exists(sys.argv[1]) and "dev.12" in os.readlink(f"/proc/self/fd/{file}"):
        raise OSError(5, "Input/output error")
    return pread(file, length, offset)
os.pread = fails
sys.exit(main.main(sys.argv[2:]))
"""


def test_a_file_that_cannot_be_read_is_neither_given_up_nor_removed(node: Node, server: FaultyServer) -> None:
    node.write(range(3))
    node.write(range(3), folder="dev.13")
    make_quiet(node.job())
    make_quiet(node.job("dev.13"))
    server.release = {"dev.12", "dev.13"}
    sick = node.folder / "sick"
    sick.touch()
    command = [sys.executable, "-c", SICK, str(sick), *node.command("--interval", 0.05)[3:]]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as agent:
        wait_until(lambda: not (node.spool / "jobs" / "dev.13").exists(), what="the other folder is removed")
        assert "dev.12" not in server.drained
        sick.unlink()
        wait_until(lambda: not node.spool.joinpath("jobs", "dev.12").exists(), what="it is well again")
        agent.terminate()
        assert agent.stderr is not None
        assert agent.stderr.read().count("dev.12/w1.jsonl cannot be read") == 1
    assert server.steps("dev.12") == [0, 1, 2]
