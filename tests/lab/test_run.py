"""`./run` answers every mistake with one sentence."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from lab import commands, debian, users
from lab.place import CHECKOUT, LabError
from lab.progress import run_step
from tests.lab.conftest import Run, as_alice


def one_sentence(answer: subprocess.CompletedProcess[str]) -> str:
    assert len(answer.stderr.strip().splitlines()) == 1, answer.stderr
    assert "Traceback" not in answer.stderr
    return answer.stderr


def test_an_unknown_command_is_told_with_the_known_ones(run: Run) -> None:
    answer = run("tests")
    assert answer.returncode == 2
    assert "no command 'tests'" in one_sentence(answer)
    assert "demo, test, check, bench, cluster, setup, help" in answer.stderr


@pytest.mark.parametrize("word", ["help", "--help", "-h"])
def test_help_shows_every_command_and_examples(run: Run, word: str) -> None:
    answer = run(word)
    assert answer.returncode == 0
    for command in ("demo", "test", "check", "bench", "cluster", "setup"):
        assert f"\n  {command} " in answer.stdout
    assert "./run demo --once" in answer.stdout


@pytest.mark.parametrize("words", [[], ["-k", "torn"], ["-k", "web"], ["-n", "0"], ["--durations=9"]])
def test_all_tests_are_spread_over_processes(words: list[str]) -> None:
    assert commands.workers(words) == ["-n", "auto"]  # of two numbers pytest takes the later one


@pytest.mark.parametrize("words", [["tests/store"], ["-q", "tests/lab/test_run.py::test_x"], ["-p", "no:xdist"]])
def test_tests_that_are_named_run_in_one_process(words: list[str]) -> None:
    assert commands.workers(words) == []


def test_run_works_from_any_folder_and_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(CHECKOUT / "run")
    answer = subprocess.run([tmp_path / "link", "help"], cwd="/", capture_output=True, text=True, check=True)
    assert "./run demo" in answer.stdout


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["cluster"], 2, "action"),
        (["cluster", "upp"], 2, "'up', 'down', 'status', 'env'"),
        (["cluster", "up", "--nodes", "0"], 1, "1 to 64 nodes"),
        (["cluster", "up", "--nodes", "many"], 2, "'many'"),
        (["cluster", "up", "--gpus", "99"], 1, "0 to 16 GPUs"),
        (["cluster", "up", "--slurm", "19.05"], 1, "Slurm 19.05 is not available"),
        (["cluster", "down", "--name", "../../etc"], 1, "lower-case letters and digits"),
        (["cluster", "env", "--name", "neverwas"], 1, "./run cluster up"),
        (["demo", "--port", "99999"], 2, "from 1 to 65535"),
        (["demo", "--port", "http"], 2, "from 1 to 65535"),
        (["demo", "--here", "--local"], 2, "not allowed with"),
        (["demo", "--onec"], 2, "--onec"),
        (["bench", "no-such"], 1, "no benchmark 'no-such'"),
        (["setup", "twice"], 2, "twice"),
    ],
)
def test_a_mistake_is_told_in_one_sentence_before_anything_is_done(
    run: Run, words: list[str], code: int, sentence: str
) -> None:
    answer = run(*words)
    assert answer.returncode == code
    assert sentence in one_sentence(answer)
    assert answer.stdout == ""


def test_a_port_in_use_is_told_before_the_demo_begins(run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        answer = run("demo", "--port", str(port))
    assert answer.returncode == 1
    assert f"port {port} is in use" in one_sentence(answer)


def test_without_root_and_sudo_the_demo_names_the_ways_out(checkout_of_alice: Path) -> None:
    answer = as_alice(checkout_of_alice, "./run", "demo")
    assert answer.returncode == 1
    assert "`sudo ./run demo`, `./run demo --here` on a working Slurm, or `./run demo --local`" in one_sentence(answer)


def test_here_without_a_slurm_names_the_ways_out(checkout_of_alice: Path) -> None:
    answer = as_alice(checkout_of_alice, "./run", "demo", "--here", env={"SLURM_CONF": "/nonexistent"})
    assert answer.returncode == 1
    assert "there is no working Slurm here" in one_sentence(answer)


def test_a_python_that_is_too_old_is_told(tmp_path: Path) -> None:
    """All Pythons of this machine are hidden behind one that says it is 3.8."""
    old = tmp_path / "python3"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    script = (CHECKOUT / "run").read_text().replace("/usr/bin/python3", str(old))
    (tmp_path / "run").write_text(script)
    for tool in ("dirname", "readlink"):
        (tmp_path / tool).symlink_to(f"/usr/bin/{tool}")
    answer = subprocess.run(
        ["/bin/bash", tmp_path / "run", "demo"],
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 1
    assert "needs Python 3.11 or newer" in one_sentence(answer)


@pytest.mark.parametrize(
    ("said", "way_out"),
    [
        ("OSError: [Errno 28] No space left on device", "make room"),
        ("Could not resolve 'mirror'", "check the network"),
        ("Could not get lock /var/lib/dpkg/lock", "wait until it is done"),
        ("No matching distribution found for x", "./run setup --upgrade"),
        ("something nobody foresaw", "its log tells why"),
    ],
)
def test_a_failed_step_shows_its_last_words_and_the_way_out(tmp_path: Path, said: str, way_out: str) -> None:
    with pytest.raises(LabError) as problem:
        run_step("libraries", [["sh", "-c", 'echo "$0"; exit 1', said]], log=tmp_path / "log")
    assert way_out in str(problem.value)
    assert said in str(problem.value)


def test_an_interrupted_installation_leaves_the_policy_for_services_as_it_was() -> None:
    debian.restore_policy()
    before = debian.POLICY.read_text() if debian.POLICY.exists() else None
    child = os.fork()
    if child == 0:
        with debian.nothing_starts():
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    assert "exit 101" in debian.POLICY.read_text()
    debian.restore_policy()
    assert (debian.POLICY.read_text() if debian.POLICY.exists() else None) == before
    assert not debian.POLICY_SAVED.exists()
    assert not debian.NO_MAIN_CLUSTER.exists()


def test_a_full_disk_is_told_before_anything_is_installed(run: Run, tmp_path: Path) -> None:
    users.make_users()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", tmp_path], check=True)
    try:
        answer = run("cluster", "up", "--name", "full", env={**os.environ, "TRACKER_LAB": str(tmp_path)}, timeout_s=300)
    finally:
        subprocess.run(["umount", tmp_path], check=True)
    assert answer.returncode == 1
    assert "need 1 GB of free disk space" in one_sentence(answer)
