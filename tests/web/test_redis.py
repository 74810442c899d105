"""Requests are counted for all servers together in a Redis, and by each alone while that is away."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.test_server import is_ready
from tests.conftest import Templates, wait_until
from tests.ports import free_ports
from tracker.store.database import Database

from .conftest import Server

MOST = 6


class Redis:
    """Debian's, in memory alone."""

    def __init__(self, folder: Path) -> None:
        (self.port,) = free_ports(1)
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        words = ["redis-server", "--bind", "127.0.0.1", "--port", str(self.port), "--save", "", "--appendonly", "no"]
        self._process = subprocess.Popen([*words, "--dir", self._folder], stdout=subprocess.DEVNULL)
        asks = ["redis-cli", "-p", str(self.port), "ping"]
        wait_until(lambda: subprocess.run(asks, capture_output=True, check=False).stdout == b"PONG\n")

    def send(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)
        if number == signal.SIGKILL:
            self._process.wait()


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[Redis]:
    server = Redis(tmp_path)
    yield server
    server.send(signal.SIGKILL)


@pytest.fixture
def serve(tmp_path: Path, templates: Templates, redis: Redis) -> Iterator[Callable[..., tuple[Server, Path]]]:
    """`tracker server` processes on one database, each with its log."""
    templates.sqlite(tmp_path / "tracker.db")
    db, processes = Database(f"sqlite:///{tmp_path / 'tracker.db'}"), []

    def begin() -> tuple[Server, Path]:
        (port,) = free_ports(1)
        log = tmp_path / f"log{port}"
        said: dict[str, Any] = {"PORT": port, "DATABASE": db.url, "WEB_WORKERS": 1, "LOG_REQUESTS": "no"}
        said |= {"RATE_LIMIT": f"{MOST}/hour", "RATE_LIMIT_STORAGE": redis.url}
        environ = os.environ | {f"TRACKER_{name}": str(value) for name, value in said.items()}
        with log.open("wb") as out:
            processes.append(subprocess.Popen([sys.executable, "-m", "tracker", "server"], env=environ, stderr=out))
        return Server(f"http://127.0.0.1:{port}", db), log

    yield begin
    for process in processes:
        process.send_signal(signal.SIGTERM)
    for process in processes:
        assert process.wait(timeout=60) == 0
    db.close()


def test_two_servers_share_one_limit_and_go_on_without_the_redis(
    serve: Callable[..., tuple[Server, Path]], redis: Redis
) -> None:
    (one, log), (other, _) = serve(), serve()
    for server in (one, other):
        wait_until(lambda: is_ready(int(server.url.rpartition(":")[2])), within_s=60)  # noqa: B023
    token = one.token()

    def status(server: Server) -> int:
        return server.ask("/api/v1/nodes", token=token).status

    assert [status(server) for server in (one, other) * (MOST // 2)] == [200] * MOST
    assert [status(one), status(other)] == [429, 429]
    refused = other.ask("/api/v1/nodes", token=token)
    assert 3000 < int(refused.headers["Retry-After"]) <= 3600
    assert one.ask("/api/v1/nodes", token=one.token("bob")).status == 200

    redis.send(signal.SIGKILL)
    assert [status(one) for _ in range(MOST + 1)] == [200] * MOST + [429]  # it counts for itself
    redis.start()
    wait_until(lambda: "it answers again" in _asked(one, token, log))
    assert log.read_text().count("it does not answer") == 1

    redis.send(signal.SIGSTOP)  # it takes connections and says nothing
    assert status(other) == 200
    redis.send(signal.SIGCONT)


def _asked(server: Server, token: str, log: Path) -> str:
    server.ask("/api/v1/nodes", token=token)
    return log.read_text()
