"""A job's output is followed with the rights of the job's user."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.agent.conftest import NOBODY, Node
from tests.agent.faulty_server import FaultyServer
from tests.conftest import wait_until


def follow(server: FaultyServer, path: Path | str, uid: int = NOBODY, folder: str = "dev.12", offset: int = 0) -> None:
    one = {"folder": folder, "stream": "stdout", "path": str(path), "uid": uid, "offset": offset}
    server.follow = [one]


def last(server: FaultyServer) -> dict[str, object]:
    wait_until(lambda: server.log_parts, what="a log part")
    return server.log_parts[-1]


@pytest.fixture
def output(node: Node) -> Path:
    file = node.folder / "slurm-12.out"
    file.write_text("hello\n")
    os.chown(file, NOBODY, NOBODY)
    file.chmod(0o600)
    return file


def test_output_is_followed_as_it_grows_and_sent_once(node: Node, server: FaultyServer, output: Path) -> None:
    node.job()
    follow(server, output)
    received = b""
    with node.agent():
        part = last(server)
        assert (part["offset"], part["length"], part["eof"]) == (0, 6, True)
        with output.open("a") as file:
            file.write("more\n")
        wait_until(lambda: server.log_parts[-1]["offset"] == 6)
        received = server.logs["dev.12", "stdout"]
    assert received in (b"more\n", b"")
    assert [part["length"] for part in server.log_parts if part["length"]] == [6, 5]


def test_of_a_long_output_the_end_is_sent(node: Node, server: FaultyServer, output: Path) -> None:
    output.write_bytes(b"x" * 1_000_000 + b"end\n")
    follow(server, output)
    with node.agent():
        part = last(server)
    assert (part["offset"], part["length"]) == (1_000_004 - 256 * 1024, 256 * 1024)
    assert server.logs["dev.12", "stdout"].endswith(b"end\n") or server.log_parts[-1]["length"] == 0


def test_an_output_that_was_written_anew_is_sent_anew(node: Node, server: FaultyServer, output: Path) -> None:
    follow(server, output, offset=5000)
    with node.agent():
        part = last(server)
    assert (part["offset"], part["length"]) == (0, 6)


def _of_root(output: Path) -> None:
    os.chown(output, 0, 0)


def _link_to_root(output: Path) -> None:
    secret = output.parent / "secret"
    secret.write_text("secret\n")
    secret.chmod(0o600)
    output.unlink()
    output.symlink_to(secret)


def _fifo(output: Path) -> None:
    output.unlink()
    os.mkfifo(output)
    os.chown(output, NOBODY, NOBODY)


def _folder(output: Path) -> None:
    output.unlink()
    output.mkdir()


def _nothing(output: Path) -> None:
    output.unlink()


@pytest.mark.parametrize("spoil", [_of_root, _link_to_root, _fifo, _folder, _nothing])
def test_what_the_user_could_not_read_is_not_read(
    node: Node, server: FaultyServer, output: Path, spoil: Callable[[Path], None]
) -> None:
    spoil(output)
    follow(server, output)
    with node.agent():
        part = last(server)
    assert part["error"]
    assert part["length"] == 0


def test_the_owner_of_the_job_folder_counts_and_not_what_the_server_says(
    node: Node, server: FaultyServer, output: Path
) -> None:
    output.chmod(0o600)
    os.chown(output, 1, 1)
    node.job()  # owned by nobody
    follow(server, output, uid=1)
    with node.agent():
        assert last(server)["error"] == "Permission denied"


def test_nothing_is_ever_read_as_root(node: Node, server: FaultyServer, output: Path) -> None:
    follow(server, output, uid=0)
    with node.agent():
        assert "root" in str(last(server)["error"])


def test_a_user_that_the_node_does_not_know_is_named(node: Node, server: FaultyServer, output: Path) -> None:
    follow(server, output, uid=3_999_999)
    with node.agent():
        assert "3999999" in str(last(server)["error"])
