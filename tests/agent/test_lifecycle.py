"""Agents that are killed, doubled or locked out, and servers that forgot: nothing is lost, nobody runs hot."""

from __future__ import annotations

import itertools
import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.agent import faulty_server as faults
from tests.agent.conftest import NOBODY, Node
from tests.agent.faulty_server import FaultyServer, Handler
from tests.conftest import ROOT, wait_until

LOCAL = "local." + "a" * 32


def make_quiet(folder: Path) -> None:
    """Let what is in a folder be of some minutes ago."""
    for path in (*folder.iterdir(), folder):
        os.utime(path, (time.time() - 300,) * 2, follow_symlinks=False)


def test_a_database_from_a_backup_gets_what_it_lacks_before_a_folder_is_removed(
    node: Node, server: FaultyServer
) -> None:
    node.write(range(100))
    make_quiet(node.job())
    with node.agent():
        node.wait_shipped(range(100))
        wait_until(lambda: "dev.12" in server.drained)
        lines = server.files["dev.12", "w1"].splitlines(keepends=True)
        server.files["dev.12", "w1"] = b"".join(lines[:40])  # nobody noticed: the other side of a proxy was replaced
        server.release = {"dev.12"}
        wait_until(lambda: not (node.spool / "jobs" / "dev.12").exists())
    assert server.steps("dev.12") == list(range(100))


def test_after_an_outage_the_agent_asks_what_the_server_still_has(node: Node, server: FaultyServer) -> None:
    """A run outside Slurm that has ended is never written again, and only its last line tells that it ended."""
    node.write(range(100), folder=LOCAL, uid=0)
    with node.agent():
        node.wait_shipped(range(100), LOCAL)
        wait_until(lambda: LOCAL in server.drained)
        server.faults.append(faults.answers_500)
        server.files.clear()
        node.wait_shipped(range(100), LOCAL)


def test_what_the_server_has_is_asked_again_from_time_to_time(node: Node, server: FaultyServer) -> None:
    node.write(range(100), folder=LOCAL, uid=0)
    code = (
        "import sys, tracker.agent.agent as agent, tracker.agent.main as main\n"
        "agent.TRUST_S = 1\n"
        "sys.exit(main.main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", code, *node.command("--interval", 0.05)[3:]]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL) as agent:
        node.wait_shipped(range(100), LOCAL)
        server.files.clear()  # and no request noticed
        node.wait_shipped(range(100), LOCAL)
        agent.terminate()


def test_a_folder_that_somebody_writes_into_stays(node: Node, server: FaultyServer) -> None:
    server.release = {"dev.12"}
    with node.agent():
        for step in range(0, 30, 10):
            node.write(range(step, step + 10))
            node.wait_shipped(range(step + 10))
            wait_until(lambda: "dev.12" in server.drained)
    assert (node.spool / "jobs" / "dev.12" / "w1.jsonl").exists()


def test_a_folder_that_cannot_be_removed_makes_no_haste(node: Node, server: FaultyServer) -> None:
    server.release = {"dev.12"}
    node.write(range(5))
    (node.job() / "mine").mkdir()
    make_quiet(node.job())
    with node.agent():
        wait_until(lambda: len(server.manifests) >= 5)
        count = len(server.manifests)
        time.sleep(1.5)  # nothing to await: it is the silence that counts
        assert len(server.manifests) <= count + 3
    assert server.steps("dev.12") == list(range(5))


def test_a_removal_that_was_interrupted_is_finished_by_the_next_agent(node: Node, server: FaultyServer) -> None:
    for writer in ("w1", "w2", "w3"):
        node.write(range(5), writer=writer)
    node.ship()
    (node.job() / "w2.jsonl").unlink()  # as far as an agent came that was killed
    make_quiet(node.job())
    server.release = {"dev.12"}
    with node.agent():
        wait_until(lambda: not (node.spool / "jobs" / "dev.12").exists())
    assert server.steps("dev.12") == [*range(5)] * 3


def test_an_agent_killed_between_the_unlinking_of_files_loses_nothing(node: Node, server: FaultyServer) -> None:
    for number in range(50):
        node.write(range(5), writer=f"w{number}")
    make_quiet(node.job())
    server.release = {"dev.12"}
    folder = node.job()
    for _ in range(20):
        with node.agent() as agent:
            wait_until(lambda: not folder.exists() or len(list(folder.iterdir())) < 50 or "dev.12" in server.drained)
            agent.kill()
        if folder.exists():
            make_quiet(folder)
    with node.agent():
        wait_until(lambda: not folder.exists())
    assert server.steps("dev.12") == [*range(5)] * 50


def test_a_file_that_was_cut_is_told_and_nothing_is_doubled(node: Node, server: FaultyServer) -> None:
    node.write(range(100))
    node.ship()
    file = node.job() / "w1.jsonl"
    held = file.stat().st_size
    file.write_bytes(b"")
    node.write(range(3))
    with node.agent() as agent:
        assert agent.stderr is not None
        assert "dev.12/w1.jsonl is shorter than what the server has of it" in [*itertools.islice(agent.stderr, 2)][1]
        count = len(server.manifests)
        time.sleep(1.5)  # nothing to await: it is the silence that counts
        assert len(server.manifests) <= count + 3
    assert len(server.files["dev.12", "w1"]) == held


def test_two_agents_of_one_spool_double_nothing_and_the_second_tells(node: Node, server: FaultyServer) -> None:
    with node.agent():
        node.write(range(10))
        node.wait_shipped(range(10))
        node.write(range(10, 5000))
        assert "another agent ships this spool" in node.ship()
        node.wait_shipped(range(5000))
    assert "another agent" not in node.ship()


def refuses_the_key(handler: Handler) -> None:
    handler.answer(401, b'{"code":"unauthenticated","detail":"This token is not known."}')


def test_a_wrong_key_is_said_once_and_tried_with_patience(node: Node, server: FaultyServer) -> None:
    server.faults.extend([refuses_the_key] * 1000)
    node.write(range(5))
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(node.command("--interval", 0.02), env=env, stderr=subprocess.PIPE, text=True) as agent:
        wait_until(lambda: len(server.tokens) >= 3)
        time.sleep(1)  # nothing to await: it is the silence that counts
        asked = len(server.tokens)
        server.faults.clear()
        node.wait_shipped(range(5))
        agent.terminate()
        assert agent.stderr is not None
        said = agent.stderr.read()
    assert asked <= 6
    assert said.count("This token is not known") == 1
    assert said.count("the server answers again") == 1


def is_too_slow_for_much(handler: Handler) -> None:
    if len(handler.body) > 1_000_000:
        handler.close_connection = True
        handler.connection.close()
    else:
        handler.answer(200, json.dumps(handler.server.faulty.take(handler.body)).encode())


def test_a_server_that_is_too_slow_for_much_gets_little(node: Node, server: FaultyServer) -> None:
    server.faults.extend([is_too_slow_for_much] * 1000)
    for job in range(1, 7):
        node.write(range(6000), folder=f"dev.{job}")
    with node.agent():
        for job in range(1, 7):
            node.wait_shipped(range(6000), f"dev.{job}")


def answers_nothing_about_events(handler: Handler) -> None:
    handler.answer(200, json.dumps({"parts": [{}] * len(json.loads(handler.body.split(b"\n")[0])["parts"])}).encode())


def test_a_server_that_says_nothing_about_events_is_not_asked_without_pause(node: Node, server: FaultyServer) -> None:
    server.faults.extend([answers_nothing_about_events] * 10_000)
    for number in range(300):
        node.event(f"prolog.{number}.1")
    with node.agent():
        wait_until(lambda: server.tokens)
        before = len(server.tokens)
        time.sleep(1)  # nothing to await: it is the haste that counts
        assert len(server.tokens) - before <= 25
        server.faults.clear()
        wait_until(lambda: len(server.hooks) == 300)


@pytest.mark.parametrize("uid", [0, NOBODY])
def test_an_empty_folder_that_is_released_goes(node: Node, server: FaultyServer, uid: int) -> None:
    server.release = {"dev.12"}
    make_quiet(node.job(uid=uid))
    node.ship()
    assert not (node.spool / "jobs" / "dev.12").exists()


def test_of_more_folders_than_a_request_names_each_has_its_turn(node: Node, server: FaultyServer) -> None:
    names = [f"dev.{number}" for number in range(1, 1301)]
    server.release = set(names)
    for name in names:
        make_quiet(node.job(name))
    node.ship()
    assert list((node.spool / "jobs").iterdir()) == []
    assert max(len(manifest["folders"]) for manifest in server.manifests) == 1000
    assert max(len(manifest["present"]) for manifest in server.manifests) == 1000


# It looks at each folder once, and again only when a hook says that a job begins or ends.
RESTING = """
import sys
import tracker.agent.backlog as backlog, tracker.agent.main as main
backlog._COST, backlog._LONGEST_REST_S, backlog._REST = 1e9, 1e9, 1e9
sys.exit(main.main(sys.argv[1:]))
"""


def test_the_end_of_a_job_brings_what_it_wrote_after_a_long_silence(node: Node, server: FaultyServer) -> None:
    node.write(range(3))
    command = [sys.executable, "-c", RESTING, *node.command("--interval", 0.05)[3:]]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL) as agent:
        node.wait_shipped(range(3))
        node.write(range(3, 5))
        node.event("epilog.12.1")
        node.wait_shipped(range(5))
        agent.terminate()


def test_agents_and_a_sync_that_are_killed_all_the_time_ship_and_remove_everything_once(
    node: Node, server: FaultyServer
) -> None:
    chance, shipped = random.Random(4), [sys.executable, "-m", "tracker", "sync", str(node.spool), "--url"]
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    names = [f"dev.{number}" for number in range(1, 61)]
    server.release = set(names)
    for first in range(0, 60, 5):
        for name in names[first : first + 5]:
            for writer in ("w1", "w2", "w3"):
                node.write(range(chance.randrange(3000)), name, writer)
            make_quiet(node.job(name))
        commands = [node.command("--interval", 0.02), node.command("--interval", 0.02), [*shipped, server.url]]
        crowd = [subprocess.Popen(command, env=env, stderr=subprocess.DEVNULL) for command in commands]
        time.sleep(chance.uniform(0.2, 1.0))  # nothing to await: they are killed wherever they are
        for one in crowd:
            one.kill()
            one.wait()
    with node.agent():
        wait_until(lambda: not list((node.spool / "jobs").iterdir()), within_s=60)
    assert len(server.files) == 180
    for (name, _), raw in server.files.items():
        steps = [json.loads(line)["step"] for line in raw.splitlines()]
        assert steps == [*range(len(steps))], name
