"""`tracker up`: all that one person needs, with one command, and how it says what is wrong."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT, wait_until

TRACKER = [sys.executable, "-m", "tracker"]


class Up:
    """A `tracker up` on a home of its own."""

    def __init__(self, home: Path, *words: str) -> None:
        self.home = home
        self.env = {
            **os.environ,
            "TRACKER_HOME": str(home),
            "PYTHONPATH": str(ROOT),
            "PATH": "/nonexistent",
        }  # no Slurm
        self.process = subprocess.Popen(
            [*TRACKER, "up", "--port", "0", *words], env=self.env, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True, cwd="/",
        )  # fmt: skip
        assert self.process.stdout is not None
        self.link = self.process.stdout.readline().removeprefix("tracker is ready: ").strip()

    @property
    def url(self) -> str:
        return self.link.partition("/login")[0]

    def api(self, path: str) -> Any:
        token = self.command("token", "create").stdout.strip()
        request = urllib.request.Request(self.url + path, headers={"Authorization": f"Bearer {token}"})
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*TRACKER, *words], env=self.env, capture_output=True, text=True, check=False, timeout=60)

    def script(self, code: str) -> int:
        return subprocess.run([sys.executable, "-c", code], env=self.env, check=False, timeout=60).returncode

    def family(self) -> list[int]:
        """Its processes."""
        listed = subprocess.check_output(["/usr/bin/ps", "-eo", "pid=,sid="], text=True)
        return [int(pid) for pid, session in map(str.split, listed.splitlines()) if int(session) == self.process.pid]

    def end(self, number: int = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        self.process.wait(timeout=30)
        for pipe in (self.process.stdout, self.process.stderr):
            assert pipe is not None
            pipe.close()
        return self.process.returncode


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Up]]:
    started: list[Up] = []

    def begin(*words: str, home: str = "home") -> Up:
        started.append(Up(tmp_path / home, *words))
        return started[-1]

    yield begin
    for up in started:
        up.end()


def test_a_script_on_a_laptop_is_a_run(start: Callable[..., Up]) -> None:
    up = start()
    assert (
        up.script("import tracker; tracker.init(experiment='mine', params={'lr': 1}); tracker.log({'x': 2.0}, step=7)")
        == 0
    )
    (run,) = wait_until(lambda: [one for one in up.api("/api/v1/runs")["items"] if one["state"] == "COMPLETED"])  # type: ignore[misc]
    assert (run["experiment"], run["params"], run["state_source"]) == ("mine", {"lr": "1"}, "client")
    assert (run["summary"]["x"]["last"], run["summary"]["x"]["last_step"]) == (2.0, 7)


def test_a_script_that_was_killed_is_lost_with_all_its_points(start: Callable[..., Up]) -> None:
    up = start()
    code = "import os, tracker; [tracker.log({'x': i}, step=i) for i in range(100)]; os.kill(os.getpid(), 9)"
    assert up.script(code) == -signal.SIGKILL
    (run,) = wait_until(lambda: [one for one in up.api("/api/v1/runs")["items"] if one["state"] == "LOST"])  # type: ignore[misc]
    assert run["summary"]["x"]["count"] == 100


def test_the_link_logs_in_once_and_another_can_be_had(start: Callable[..., Up]) -> None:
    up = start()
    again = up.command("login").stdout.strip()
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/login\?token=\S+", again)
    assert again != up.link
    opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
    with opener.open(again, timeout=10) as page:
        assert page.geturl() == f"{up.url}/"


def test_what_is_kept_is_for_nobody_else(start: Callable[..., Up], tmp_path: Path) -> None:
    (tmp_path / "home").mkdir(mode=0o755)
    up = start()
    up.command("login")
    readable = [path for path in up.home.rglob("*") if path.is_file() and path.stat().st_mode & 0o077]
    assert list(up.home.glob("tracker.db*"))
    assert readable == []


def test_a_second_one_on_the_same_home_is_refused(start: Callable[..., Up]) -> None:
    up = start()
    second = up.command("up", "--port", "0")
    assert second.returncode == 1
    assert second.stderr.startswith("tracker: Another `tracker up` runs on ")
    assert up.command("login").returncode == 0


def test_it_ends_with_all_its_processes(start: Callable[..., Up]) -> None:
    up = start()
    wait_until(lambda: len(up.family()) >= 4)
    up.process.send_signal(signal.SIGTERM)
    assert up.end() == 0  # a second signal on the way changes nothing
    assert up.family() == []
    assert not (up.home / "server.json").exists()


def test_after_a_kill_it_can_start_again_at_once(start: Callable[..., Up]) -> None:
    up = start()
    port = up.url.rpartition(":")[2]
    wait_until(lambda: len(up.family()) >= 4)
    up.end(signal.SIGKILL)
    wait_until(lambda: up.family() == [])
    assert start("--port", port).url == up.url


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--database", "sqlite://"), "SQLite needs a file"),
        (("--database", "mysql://x@y/z"), "keeps its data in SQLite or PostgreSQL, not in mysql"),
        (("--database", "nonsense"), "is no database URL"),
        (("--database", "sqlite:////etc/passwd"), "file is not a database"),
        (("--database", "postgresql://nobody@127.0.0.1:1/x"), "The database does not work now"),
    ],
)
def test_a_database_that_cannot_be_used_is_told(tmp_path: Path, words: tuple[str, ...], sentence: str) -> None:
    up = Up(tmp_path / "home", *words)
    assert up.process.stderr is not None
    said = up.process.stderr.read()
    assert up.end() == 1
    assert sentence in said
    assert "Traceback" not in said
    assert Path("/etc/passwd").read_text().startswith("root:")


def test_a_port_in_use_is_told(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        up = Up(tmp_path / "home", "--port", str(taken.getsockname()[1]))
        assert up.process.stderr is not None
        said = up.process.stderr.read()
    assert up.end() == 1
    assert re.fullmatch(
        r"tracker: Port \d+ of 127\.0\.0\.1 cannot be used \(Address already in use\): .*--port\.\n", said
    )


def test_a_home_that_cannot_be_is_told(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file")
    up = Up(tmp_path / "home")
    assert up.process.stderr is not None
    assert "set TRACKER_HOME to one that can." in up.process.stderr.read()
    assert up.end() == 1


def test_a_disk_that_fills_up_is_told(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", disk], check=True)
    try:
        up = Up(disk / "home")
        assert up.process.stderr is not None
        said = up.process.stderr.read()
        assert up.end() == 1
        assert "Traceback" not in said
        assert re.search(r"full|No space left", said)
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)
