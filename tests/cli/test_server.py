"""`tracker server`: as many as there may be, on one database, at any moment of its life."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from tests.conftest import ROOT, wait_until
from tests.ports import free_port, free_ports
from tracker.store.database import Database

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a server on a database; it gets killed in the end."""
    started: list[subprocess.Popen[str]] = []
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "TRACKER_HOME": str(tmp_path), "TRACKER_WEB_WORKERS": "1"}

    def begin(database_url: str, port: int, command: str = "server") -> subprocess.Popen[str]:
        words = [sys.executable, "-m", "tracker", command, "--port", str(port), "--database", database_url]
        process = subprocess.Popen(
            words, env=environ, cwd="/", stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        started.append(process)
        return process

    yield begin
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=30)


def is_ready(port: int) -> bool:
    """Whether a server answers there that it can work."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=30) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def test_sixteen_that_start_at_once_on_an_empty_database_all_come_up(start: Start, database_url: str) -> None:
    ports = free_ports(16)
    servers = [start(database_url, port) for port in ports]
    ended = wait_until(
        lambda: [one for one in servers if one.poll() is not None] or all(map(is_ready, ports)), within_s=120
    )
    assert ended is True, [one.communicate()[1] for one in servers if one.poll() is not None]


@pytest.mark.parametrize("command", ["server", "up"])
def test_on_the_database_of_a_newer_tracker_it_ends_with_a_sentence(start: Start, db: Database, command: str) -> None:
    with db.write() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    server = start(db.url, 0, command)
    _, said = server.communicate(timeout=60)
    assert server.returncode == 1
    assert "The database is at 9999 and belongs to a newer tracker" in said
    assert "Traceback" not in said


def test_it_is_not_ready_any_more_when_a_newer_one_has_upgraded_its_database(start: Start, db: Database) -> None:
    port = free_port()
    start(db.url, port)
    wait_until(lambda: is_ready(port), within_s=60)
    with db.write() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=30)
    with refused.value:
        assert refused.value.code == 503
        assert b"belongs to a newer tracker" in refused.value.read()


def test_a_watcher_waits_for_a_database_that_it_knows(db: Database, tmp_path: Path) -> None:
    with db.write() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "TRACKER_HOME": str(tmp_path), "PATH": "/nonexistent"}
    words = [sys.executable, "-m", "tracker", "watch", "--database", db.url]
    with (tmp_path / "log").open("wb") as log:
        watcher = subprocess.Popen(words, env=environ, cwd="/", stderr=log)
    try:
        wait_until(lambda: "belongs to a newer tracker" in (tmp_path / "log").read_text(), within_s=60)
        assert watcher.poll() is None
        assert "Traceback" not in (tmp_path / "log").read_text()
    finally:
        watcher.kill()
        watcher.wait()
