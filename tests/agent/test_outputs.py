"""A job's output is followed with the rights of the job's user."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.agent.conftest import NOBODY, Node
from tests.agent.faulty_server import FaultyServer
from tests.conftest import ROOT, wait_until
from tracker.agent import outputs


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


def test_of_a_long_output_as_much_is_sent_as_the_server_keeps(node: Node, server: FaultyServer, output: Path) -> None:
    output.write_bytes(b"x" * 1_000_000 + b"end\n")
    follow(server, output)
    server.follow[0]["keep"] = 300_000
    with node.agent():
        wait_until(lambda: any(part["eof"] for part in server.log_parts))
    first, second = server.log_parts[:2]
    assert (first["offset"], first["length"], first["eof"]) == (1_000_004 - 300_000, 256 * 1024, False)
    assert (second["offset"], second["eof"]) == (first["offset"] + first["length"], True)


def test_an_output_that_was_cut_off_is_sent_anew(node: Node, server: FaultyServer, output: Path) -> None:
    follow(server, output, offset=5000)
    with node.agent():
        part = last(server)
    assert (part["offset"], part["length"], part["after"], part["anew"]) == (0, 6, 5000, True)


def _replaced(output: Path) -> None:
    other = output.with_suffix(".new")
    other.write_text("another file, which is longer\n")
    other.rename(output)


def _rewritten(output: Path) -> None:
    output.write_text("the same file, written anew and longer\n")


def _rotated(output: Path) -> None:
    output.rename(output.with_suffix(".1"))
    output.write_text("the next file, which is longer\n")


@pytest.mark.parametrize("change", [_replaced, _rewritten, _rotated])
def test_another_file_under_the_same_name_is_noticed_though_it_is_longer(
    node: Node, server: FaultyServer, output: Path, change: Callable[[Path], None]
) -> None:
    follow(server, output)
    with node.agent():
        first = last(server)
        server.follow[0]["file"] = first["file"]
        change(output)
        os.chown(output, NOBODY, NOBODY)
        wait_until(lambda: server.log_parts[-1]["anew"])
    parts = [part for part in server.log_parts if part["anew"]]
    assert (parts[0]["offset"], parts[0]["length"]) == (0, output.stat().st_size)


def test_a_flood_costs_a_bounded_rate_and_points_do_not_wait(node: Node, server: FaultyServer, output: Path) -> None:
    follow(server, output)
    server.follow[0]["keep"] = 300_000
    with node.agent(), output.open("ab") as file:
        last(server)
        begun_s, before = time.monotonic(), len(server.log_parts)
        for burst in range(30):  # as much as a job could print, and points with each of it
            file.write(b"flood\n" * 500_000)
            file.flush()
            node.write(range(burst, burst + 1))
            wait_until(lambda burst=burst: len(server.steps("dev.12")) > burst)
        taken, passed_s = sum(part["length"] for part in server.log_parts[before:]), time.monotonic() - begun_s
    assert output.stat().st_size > 80_000_000
    assert taken <= (passed_s + 2) * 256 * 1024


def test_a_hanging_file_system_is_told_and_holds_up_nobody(output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(one: outputs.Wanted, room: int) -> outputs.Piece:
        if one.folder == "dev.13":
            time.sleep(60)
        return read(one, room)

    read = outputs._piece
    monkeypatch.setattr(outputs, "_piece", hang)
    monkeypatch.setattr(outputs, "_PATIENCE_S", 0.3)
    reader = outputs.OutputReader()
    files = [outputs.Wanted("dev.12", "stdout", str(output), NOBODY, 0), outputs.Wanted("dev.13", "stdout", "/", 1, 0)]
    for _ in range(2):  # then the sick one is left alone
        told = {piece.wanted.folder: piece for piece in reader.read(files)}
        assert told["dev.12"].content == b"hello\n"
        assert told["dev.13"].error == "its file system did not answer within 0.3 s"


def test_each_file_is_read_with_the_rights_of_its_own_user_only(output: Path) -> None:
    files = {}
    for uid in (1, 2, NOBODY):
        files[uid] = output.with_name(f"slurm-{uid}.out")
        files[uid].write_text(f"of {uid}\n")
        os.chown(files[uid], uid, uid)
        files[uid].chmod(0o600)
    wanted = [outputs.Wanted(f"{uid}", f"{path}", str(path), uid, 0) for uid in files for path in files.values()]
    for _ in range(5):  # in an order drawn by lot
        for piece in outputs.OutputReader().read(wanted):
            is_own = piece.wanted.path == str(files[piece.wanted.uid])
            assert (piece.content, piece.error) == (
                (f"of {piece.wanted.uid}\n".encode(), None) if is_own else (b"", "Permission denied")
            )


def test_a_silent_output_is_looked_at_seldom_and_a_hook_hastens_it(
    node: Node, server: FaultyServer, output: Path
) -> None:
    follow(server, output)
    code = (
        "import sys, tracker.agent.follow as follow, tracker.agent.main as main\n"
        "follow._REST = follow._LONGEST_REST_S = 1e9\n"
        "sys.exit(main.main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", code, *node.command("--interval", 0.05)[3:]]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL) as agent:
        wait_until(lambda: any(part["eof"] for part in server.log_parts))
        wait_until(lambda: len(server.manifests) > 4)  # a look or more without news
        with output.open("a") as file:
            file.write("the end\n")
        node.event("epilog.12.1")
        wait_until(lambda: server.logs["dev.12", "stdout"] == b"the end\n")
        agent.terminate()


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


def _device(output: Path) -> None:
    output.unlink()
    output.symlink_to("/dev/null")


def _nothing(output: Path) -> None:
    output.unlink()


@pytest.mark.parametrize("spoil", [_of_root, _link_to_root, _fifo, _folder, _device, _nothing])
def test_what_the_user_could_not_read_is_not_read(
    node: Node, server: FaultyServer, output: Path, spoil: Callable[[Path], None]
) -> None:
    spoil(output)
    follow(server, output)
    with node.agent():
        part = last(server)
    assert part["error"]
    assert part["length"] == 0


def test_what_the_kernel_tells_of_its_reader_is_not_sent(node: Node, server: FaultyServer, output: Path) -> None:
    output.unlink()
    output.symlink_to("/proc/self/maps")  # whoever reads it reads of itself, and the agent is root
    follow(server, output)
    with node.agent():
        wait_until(lambda: len(server.log_parts) > 1)
    assert {part["length"] for part in server.log_parts} == {0}


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
