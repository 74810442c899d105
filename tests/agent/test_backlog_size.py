"""However much waits, the agent's memory and its requests stay small."""

from __future__ import annotations

import os
import re
from pathlib import Path

from tests.agent.conftest import NOBODY, Node
from tests.agent.faulty_server import FaultyServer
from tests.conftest import wait_until

FILES, FOLDERS = 100_000, 10
MOST_MEMORY_KIB = 160 * 1024  # of which Python itself takes about 20 MiB


def _peak_memory_kib(pid: int) -> int:
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1])


def test_a_hundred_thousand_files_and_a_large_one_need_little_memory(node: Node, server: FaultyServer) -> None:
    line = b'{"metrics":{"loss":1},"step":1}\n'
    for number in range(FILES):
        name = f"dev.{100 + number % FOLDERS}"
        file = os.open(node.job(name) / f"w{number}.jsonl", os.O_WRONLY | os.O_CREAT, 0o600)
        os.write(file, line)
        os.fchown(file, NOBODY, NOBODY)
        os.close(file)
    node.append(line * 3_000_000, "dev.99")  # 96 MB
    with node.agent() as agent:
        wait_until(lambda: len(server.manifests) >= 10, within_s=120, what="ten requests")
        assert _peak_memory_kib(agent.pid) < MOST_MEMORY_KIB
    for manifest in server.manifests:
        assert sum(part["length"] for part in manifest["parts"]) <= 6 * 1024 * 1024
        assert len(manifest["parts"]) <= 500
    assert len({folder for folder, _ in server.files}) == FOLDERS + 1  # nobody waits behind the large ones
