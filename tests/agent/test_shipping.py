"""Every point arrives exactly once, whatever happens to server, network and agent."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time
from urllib.parse import urlsplit

import pytest

from tests.agent import faulty_server as faults
from tests.agent.conftest import NOBODY, Node
from tests.agent.faulty_server import FaultyServer, serving
from tests.conftest import ROOT, wait_until


def test_what_hooks_and_jobs_wrote_arrives(node: Node, server: FaultyServer) -> None:
    node.event("prolog.12.1", SLURM_JOB_ID=12)
    node.write(range(100))
    node.write(range(5), folder="local." + "a" * 32, writer="w2", uid=0)
    node.ship()
    assert [name for name, _ in server.hooks] == ["prolog.12.1"]
    assert server.steps("dev.12") == list(range(100))
    assert server.users["dev.12"] == (NOBODY, "nobody")
    assert list((node.spool / "events").iterdir()) == []
    assert server.manifests[0]["agent"].items() >= {"node": "n1", "cluster": "dev"}.items()


def test_events_arrive_oldest_first_however_many(node: Node, server: FaultyServer) -> None:
    for number in range(500):
        node.event(f"prolog.{number}.1", time_s=2e9 - number)
    node.ship()
    assert [name for name, _ in server.hooks] == [f"prolog.{number}.1" for number in reversed(range(500))]


def test_an_event_is_sent_when_its_hook_has_written_all_of_it(node: Node, server: FaultyServer) -> None:
    node.event("prolog.12.1", SLURM_JOB_ID=12)
    names = ("epilog.12.2.event", "prolog.11.1.event", ".prolog.10.1.tmp", ".prolog.13.1.tmp")
    written, forgotten, older, draft = (node.spool / "events" / name for name in names)
    written.write_bytes(b"HOOK=epilog\0SLURM_JOB_ID=12\0")
    os.utime(written, (time.time() + 600,) * 2)
    for file in (forgotten, older, draft):
        file.write_bytes(b"")
    for file in (forgotten, older):  # of hooks that were killed long ago
        os.utime(file, (1e9, 1e9))
    node.ship()
    assert [name for name, _ in server.hooks] == ["prolog.12.1"]
    assert {path.name for path in (node.spool / "events").iterdir()} == {written.name, draft.name}
    with written.open("ab") as file:
        file.write(b"END=1\0")
    node.ship()
    assert [name for name, _ in server.hooks] == ["prolog.12.1", "epilog.12.2"]


def test_an_event_of_an_older_hook_is_sent_though_it_does_not_say_that_it_is_whole(
    node: Node, server: FaultyServer
) -> None:
    older, cut = (node.spool / "events" / f"{name}.event" for name in ("epilog.12.2", "prolog.13.1"))
    older.write_bytes(b"HOOK=epilog\0SLURM_JOB_ID=12\0")
    cut.write_bytes(b"HOOK=prolog\0SLURM_JO")
    for file in (older, cut):
        os.utime(file, (time.time() - 60,) * 2)
    node.ship()
    assert [name for name, _ in server.hooks] == ["epilog.12.2"]
    assert [path.name for path in (node.spool / "events").iterdir()] == [cut.name]


@pytest.mark.parametrize(
    "fault",
    [
        faults.answers_500,
        faults.answers_garbage,
        faults.answers_nothing_about_parts,
        faults.drops_before_storing,
        faults.stores_and_drops,
        faults.stores_and_answers_500,
        faults.drops_in_the_midst_of_the_answer,
        faults.says_too_large,
    ],
)
def test_after_a_fault_everything_is_there_once(node: Node, server: FaultyServer, fault: faults.Fault) -> None:
    server.faults.extend([None, fault, None, fault])
    node.event("prolog.12.1")
    node.write(range(200))
    with node.agent():
        node.wait_shipped(range(200))
        node.write(range(200, 400))
        node.event("epilog.12.1")
        node.wait_shipped(range(400))
        wait_until(lambda: len(server.hooks) == 2)


def test_a_server_that_is_not_there_yet_is_waited_for(node: Node) -> None:
    later = node.server = FaultyServer()
    with serving(later):
        port = urlsplit(later.url).port
    node.write(range(50))
    assert "not everything was shipped" in node.ship(exit_code=1)
    with node.agent() as agent, serving(later, port):
        node.wait_shipped(range(50))
        assert agent.poll() is None


def test_a_hanging_server_does_not_keep_the_agent_from_ending(node: Node, server: FaultyServer) -> None:
    server.faults.append(faults.hangs)
    node.write(range(5))
    with node.agent() as agent:
        wait_until(lambda: server.tokens)
        agent.terminate()
        assert agent.wait(20) == 0
    node.ship()
    assert server.steps("dev.12") == list(range(5))


def test_a_server_that_dribbles_bytes_is_cut_off(node: Node, server: FaultyServer) -> None:
    server.faults.append(faults.dribbles)
    node.write(range(5))
    code = (
        "import sys, tracker.agent.server as server, tracker.agent.main as main\n"
        "server.EXCHANGE_TIMEOUT_S = 1\n"
        "sys.exit(main.main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", code, *node.command("--once")[3:]]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    assert server.steps("dev.12") == list(range(5))


def test_an_agent_killed_again_and_again_ships_everything_once(node: Node, server: FaultyServer) -> None:
    step = itertools.count()
    for _ in range(6):
        with node.agent() as agent:
            before = len(server.manifests)
            first = next(step) * 300
            node.write(range(first, first + 300))
            wait_until(lambda before=before: len(server.manifests) > before)
            agent.send_signal(signal.SIGKILL)
    node.ship()
    assert server.steps("dev.12") == list(range(1800))


def test_after_a_restart_a_long_file_is_not_sent_again(node: Node, server: FaultyServer) -> None:
    node.write(range(20_000))
    node.ship()
    server.manifests.clear()
    node.write(range(20_000, 20_010))
    node.ship()
    assert server.steps("dev.12") == list(range(20_010))
    assert sum(part["length"] for manifest in server.manifests for part in manifest["parts"]) < 2000


def test_a_server_that_lost_its_data_gets_it_again(node: Node, server: FaultyServer) -> None:
    node.write(range(100))
    with node.agent():
        node.wait_shipped(range(100))
        server.files.clear()
        node.write(range(100, 110))
        node.wait_shipped(range(110))


def test_a_torn_last_line_waits_for_its_newline(node: Node, server: FaultyServer) -> None:
    node.write(range(3))
    node.append(b'{"metrics":{"loss"')
    with node.agent():
        node.wait_shipped(range(3))
        wait_until(lambda: "dev.12" in server.drained)
        node.append(b':1},"step":3}\n')
        node.wait_shipped(range(4))


def test_a_request_stays_small_with_any_backlog_and_nobody_waits_behind_a_large_file(
    node: Node, server: FaultyServer
) -> None:
    node.write(range(100_000), folder="dev.1")
    node.write(range(10), folder="dev.2")
    node.ship()
    sizes = [sum(part["length"] for part in manifest["parts"]) for manifest in server.manifests]
    assert max(sizes) <= 5 * 1024 * 1024
    small = [part["folder"] == "dev.2" for manifest in server.manifests[:2] for part in manifest["parts"]]
    assert any(small)
    assert server.steps("dev.1") == list(range(100_000))


def test_a_line_without_end_is_sent_in_pieces_and_the_next_arrives(node: Node, server: FaultyServer) -> None:
    node.append(b"x" * 3_000_000 + b"\n")
    node.write(range(3))
    node.ship()
    assert server.files["dev.12", "w1"].endswith(b'"step": 2}\n')
    assert server.files["dev.12", "w1"].startswith(b"x" * 3_000_000)


def test_what_the_server_cannot_use_is_put_aside(node: Node, server: FaultyServer) -> None:
    server.unusable = {"prolog.13.1", "dev.13"}
    node.event("prolog.12.1")
    node.event("prolog.13.1")
    node.write(range(3))
    node.write(range(3), folder="dev.13")
    assert "no use for it" in node.ship(exit_code=1)
    assert [path.name for path in (node.spool / "events" / "rejected").iterdir()] == ["prolog.13.1.event"]
    assert server.steps("dev.12") == [0, 1, 2]
    assert (node.spool / "jobs" / "dev.13" / "w1.jsonl").exists()


def test_a_drained_folder_is_removed_when_the_server_releases_it(node: Node, server: FaultyServer) -> None:
    node.write(range(5))
    node.write(range(5), folder="dev.13")
    server.release = {"dev.12"}
    with node.agent():
        wait_until(lambda: not (node.spool / "jobs" / "dev.12").exists())
    assert server.steps("dev.12") == list(range(5))
    assert (node.spool / "jobs" / "dev.13").exists()


def test_a_folder_that_is_not_drained_is_never_removed(node: Node, server: FaultyServer) -> None:
    server.release, server.unusable = {"dev.12"}, {"dev.12"}
    node.write(range(5))
    node.ship(exit_code=1)
    server.unusable = set()
    server.faults.extend([faults.stores_and_drops] * 10)
    node.ship(exit_code=1)
    assert (node.spool / "jobs" / "dev.12" / "w1.jsonl").exists()


def test_an_idle_agent_asks_seldom(node: Node, server: FaultyServer) -> None:
    with node.agent():
        wait_until(lambda: server.manifests)
        time.sleep(1)  # nothing to await: it is the silence that counts
        assert len(server.manifests) == 1


def test_the_token_comes_from_a_file_that_may_change(node: Node, server: FaultyServer) -> None:
    token = node.folder / "token"
    token.write_text("first\n")
    with node.agent(TRACKER_TOKEN_FILE=str(token)):
        wait_until(lambda: server.tokens == ["Bearer first"])
        token.write_text("second\n")
        node.write(range(1))
        wait_until(lambda: server.tokens[-1] == "Bearer second")


@pytest.mark.parametrize(
    ("arguments", "env", "said"),
    [
        (["--url", "ftp://x"], {}, "no server's address"),
        (["--url", "http://x:port"], {}, "no server's address"),
        (["--spool", "/nowhere/at/all"], {}, "There is no spool"),
        ([], {"TRACKER_TOKEN_FILE": "/nowhere/token"}, "cannot be read"),
    ],
)
def test_bad_input_gets_one_sentence(node: Node, arguments: list[str], env: dict[str, str], said: str) -> None:
    printed = node.ship(*arguments, exit_code=1, **env)
    assert said in printed
    assert printed.count("\n") == 1


def test_a_run_whose_script_died_without_a_goodbye_is_told(node: Node, server: FaultyServer) -> None:
    def script(code: str) -> str:
        command = [
            sys.executable,
            "-c",
            f"import tracker; tracker.log({{'a': 1}}); print(tracker.current_run().id); {code}",
        ]
        env = {"TRACKER_HOME": str(node.folder), "PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        return f"local.{done.stdout.strip()}"

    died = script("import os, sys; sys.stdout.flush(); os.kill(os.getpid(), 9)")
    ended = script("pass")
    node.append(b'{"event":"writer","pid":1,"host":"elsewhere"}\n', folder="local." + "b" * 32, uid=0)
    node.append(b'{"metrics":{"a":1}}\n', folder="local." + "c" * 32, uid=0)
    with node.agent():
        wait_until(lambda: len(server.drained) == 4)
        wait_until(lambda: server.gone)
    assert server.gone == [died]
    assert ended in server.drained
