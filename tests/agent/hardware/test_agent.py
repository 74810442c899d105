"""The agent samples the jobs of its node: as a process, with a server that may fail."""

from __future__ import annotations

import json
import os
import subprocess
import time
from typing import Any

from tests.agent import faulty_server as faults
from tests.agent.conftest import Node
from tests.agent.faulty_server import FaultyServer
from tests.agent.hardware.conftest import BUSY, CLUSTER, IN_JOB, FakeNvml, Start, end
from tests.conftest import wait_until
from tracker.client.identity import process_identity

FOLDER = f"{CLUSTER}.12"
UID = os.geteuid()


def lines(server: FaultyServer, folder: str) -> list[dict[str, Any]]:
    """All lines of the machine's writers of a job, in order."""
    raws = [raw for (name, writer), raw in server.files.items() if name == folder and writer.startswith("machine-n1-")]
    return [json.loads(line) for raw in raws for line in raw.splitlines()]


def samples(server: FaultyServer, folder: str = FOLDER) -> list[dict[str, float]]:
    return [line["metrics"] for line in lines(server, folder) if "metrics" in line]


def prolog(node: Node, gpus: str = "") -> None:
    node.job(FOLDER, UID)
    variables = {"SLURM_CLUSTER_NAME": CLUSTER, "SLURM_JOB_ID": 12, **({"SLURM_JOB_GPUS": gpus} if gpus else {})}
    node.event("prolog.12.1", time_s=time.time(), **variables)


def gpu(index: int) -> str:
    return f"{index} GPU-{index} H200 0 {index * 10} 8 80 70000 30"


def gpus_of(found: dict[str, float]) -> set[str]:
    return {name.split(".")[1] for name in found if name.startswith("system/gpu.")}


def test_a_job_is_sampled_with_its_own_gpu_only(node: Node, server: FaultyServer, start: Start, nvml: FakeNvml) -> None:
    nvml.says(gpu(0), gpu(1), gpu(2))
    prolog(node, gpus="1")
    start(BUSY, **IN_JOB)
    with node.agent("--sample-every", 1, **nvml.env):
        wait_until(lambda: len(samples(server)) > 2)
    header, named, *_ = lines(server, FOLDER)
    assert header.items() >= {"event": "writer", "version": 1, "kind": "machine", "node": "n1"}.items()
    assert named["gpus"] == [{"index": 1, "uuid": "GPU-1", "name": "H200"}]
    for sample in samples(server):
        assert sample["system/memory_bytes"] > 1_000_000
        assert gpus_of(sample) in ({"1"}, set())
    assert samples(server)[0]["system/gpu.1.utilization_percent"] == 10
    assert samples(server)[0]["system/cpu.percent"] > 1


def test_an_agent_that_comes_late_asks_the_server_for_the_gpus(
    node: Node, server: FaultyServer, start: Start, nvml: FakeNvml
) -> None:
    nvml.says(gpu(0), gpu(1), gpu(2))
    node.job(FOLDER, UID)  # its Prolog's event was shipped before
    server.gpus = {FOLDER: [2]}
    start(BUSY, **IN_JOB)
    with node.agent("--sample-every", 1, **nvml.env):
        wait_until(lambda: any(gpus_of(sample) == {"2"} for sample in samples(server)))
        asked = [manifest["gpus_of"] for manifest in server.manifests]
        assert asked[0] == [FOLDER]
        assert asked[-1] == []


def test_each_sample_arrives_once_through_a_storm(node: Node, server: FaultyServer, start: Start) -> None:
    start(BUSY, **IN_JOB)
    prolog(node)
    storm = [faults.stores_and_drops, faults.answers_500, faults.drops_before_storing, faults.stores_and_answers_500]
    with node.agent("--sample-every", 0.5):
        wait_until(lambda: samples(server))
        server.faults.extend(storm)
        wait_until(lambda: not server.faults and len(samples(server)) > 5)
    times = [line["time"] for line in lines(server, FOLDER) if "metrics" in line]
    assert times == sorted(set(times))


def test_a_script_outside_slurm_is_sampled_also_on_a_shared_spool(
    node: Node, server: FaultyServer, start: Start
) -> None:
    busy = start(BUSY)
    folder = "local." + "b" * 32
    who = {"event": "writer", "pid": busy.pid, "host": os.uname().nodename, "process": process_identity(busy.pid)}
    node.append(json.dumps(who).encode() + b"\n", folder=folder, uid=UID)
    start(BUSY, **IN_JOB)
    prolog(node)
    with node.agent("--shared", "--sample-every", 1):
        wait_until(lambda: samples(server, folder))
    assert samples(server) == []  # of Slurm's jobs this machine may know nothing


def test_the_last_moments_of_a_job_arrive_though_its_folder_is_removed(
    node: Node, server: FaultyServer, start: Start
) -> None:
    busy = start(BUSY, **IN_JOB)
    prolog(node)
    with node.agent("--sample-every", 600):
        wait_until(lambda: samples(server))
        ended_s = time.time()
        end(busy)
        node.event("epilog.12.2", SLURM_CLUSTER_NAME=CLUSTER, SLURM_JOB_ID=12)
        server.release = {FOLDER}
        wait_until(lambda: not (node.spool / "jobs" / FOLDER).exists())
        wait_until(lambda: len(samples(server)) > 1 or time.time() > ended_s + 6)
    times = [line["time"] for line in lines(server, FOLDER) if "metrics" in line]
    assert len(times) == 2 or ended_s - times[0] < 3.5  # it may have ended just after its first sample


def test_sampling_can_be_switched_off(node: Node, server: FaultyServer, start: Start) -> None:
    start(BUSY, **IN_JOB)
    prolog(node)
    node.write(range(3), folder=FOLDER, uid=UID)
    with node.agent("--sample-every", 0) as agent:
        node.wait_shipped(range(3), folder=FOLDER)
        assert children(agent.pid) == []
    assert samples(server) == []


def test_an_agent_without_jobs_measures_nothing(node: Node, server: FaultyServer) -> None:
    with node.agent("--sample-every", 1) as agent:
        wait_until(lambda: server.manifests)
        assert children(agent.pid) == []


def test_a_driver_that_hangs_holds_up_neither_points_nor_samples(
    node: Node, server: FaultyServer, start: Start, nvml: FakeNvml
) -> None:
    nvml.says(gpu(0), init="hang")
    prolog(node, gpus="0")
    start(BUSY, **IN_JOB)
    with node.agent("--sample-every", 1, **nvml.env):
        node.write(range(100), folder=FOLDER, uid=UID)
        wait_until(lambda: server.files.get((FOLDER, "w1"), b"").count(b"\n") == 100, within_s=15)
        wait_until(lambda: samples(server), within_s=60)
    assert gpus_of(samples(server)[0]) == set()


def children(pid: int) -> list[str]:
    listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False)
    return listed.stdout.split()
