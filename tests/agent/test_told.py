"""What the server tells a job lands in its folder, whatever its user put there."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.agent.conftest import NOBODY, Node
from tests.agent.faulty_server import FaultyServer
from tests.conftest import wait_until


def told(node: Node, name: str = "dev.12") -> dict[str, float] | None:
    file = node.job(name) / "told.json"
    return json.loads(file.read_text()) if file.is_file() and not file.is_symlink() else None


def test_a_job_reads_what_it_is_told_and_news_replace_it(node: Node, server: FaultyServer) -> None:
    node.write(range(2))
    server.tell = [{"folder": "dev.12", "attempt": 1, "ends_at": 1763688000.5, "secret": "x"}, {"folder": "dev.99"}, 3]
    with node.agent():
        wait_until(lambda: told(node) == {"attempt": 1, "ends_at": 1763688000.5})
        status = (node.job() / "told.json").stat()
        assert oct(status.st_mode & 0o777) == "0o644"
        server.tell = [{"folder": "dev.12", "attempt": 2, "ends_at": 1763689000, "last_step": 420}]
        wait_until(lambda: told(node) == {"attempt": 2, "ends_at": 1763689000, "last_step": 420})
    assert {"dev.12"} == {name for manifest in server.manifests for name in manifest["present"]}
    assert sorted(path.name for path in node.job().iterdir()) == ["told.json", "w1.jsonl"]


def test_a_folder_with_something_told_is_removed_like_any_other(node: Node, server: FaultyServer) -> None:
    node.write(range(2))
    server.tell = [{"folder": "dev.12", "attempt": 1}]
    with node.agent():
        wait_until(lambda: told(node))
        server.tell = []
        server.release = {"dev.12"}
        wait_until(lambda: not (node.spool / "jobs" / "dev.12").exists(), within_s=30)


def _link(folder: Path, secret: Path, name: str) -> None:
    (folder / name).symlink_to(secret)


def _hard_link(folder: Path, secret: Path, name: str) -> None:
    os.link(secret, folder / name)


def _fifo(folder: Path, secret: Path, name: str) -> None:
    os.mkfifo(folder / name)


def _folder(folder: Path, secret: Path, name: str) -> None:
    (folder / name).mkdir()
    (folder / name / "x").touch()


@pytest.mark.parametrize("name", ["told.json", ".told.json.new"])
@pytest.mark.parametrize("plant", [_link, _hard_link, _fifo, _folder])
def test_what_a_user_planted_is_neither_followed_nor_written(
    node: Node, server: FaultyServer, plant: Callable[[Path, Path, str], None], name: str
) -> None:
    secret = node.folder / "secret"
    secret.write_text("of root\n")
    node.write(range(2))
    node.write(range(2), folder="dev.13")
    plant(node.job(), secret, name)
    os.chown(node.job() / name, NOBODY, NOBODY, follow_symlinks=False)
    server.tell = [{"folder": folder, "attempt": 1} for folder in ("dev.12", "dev.13")]
    with node.agent():
        wait_until(lambda: told(node, "dev.13"))
        node.wait_shipped(range(2))
    assert secret.read_text() == "of root\n"
    assert secret.stat().st_mode & 0o777 == 0o644
    assert told(node) == (None if plant is _folder else {"attempt": 1})
