"""What jobs of a real Slurm use of the hardware: its control groups, and a GPU of air."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT, wait_until
from tests.e2e.conftest import Site

BUSY = """python -c "
import time, tracker
kept = bytearray(b'x') * 60_000_000
began, used = time.monotonic(), time.process_time()
while time.monotonic() < began + 12: pass
tracker.log({'own percent': (time.process_time() - used) / (time.monotonic() - began) * 100})
" """


@pytest.fixture
def fake_nvml() -> Iterator[dict[str, str]]:
    """The environment in which a process finds an NVML with two GPUs."""
    folder = Path(tempfile.mkdtemp(prefix="tracker-nvml-"))
    source = ROOT / "tests" / "agent" / "hardware" / "fake_nvml.c"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", folder / "libnvidia-ml.so.1", source], check=True)
    gpus = [f"{index} GPU-of-air-{index} H200 0 {40 + index} 8 80 70000 30" for index in range(2)]
    (folder / "state").write_text("\n".join(["0", *gpus]) + "\n")
    yield {"LD_LIBRARY_PATH": str(folder), "FAKE_NVML": str(folder / "state")}
    shutil.rmtree(folder)


def test_a_jobs_processor_memory_and_own_gpu_are_seen(site: Site, fake_nvml: dict[str, str]) -> None:
    node = "test-n1"
    site.cluster.stop_agent(node)
    token = (site.cluster.at.home / "lab-agent.token").read_text().strip()
    command = [site.cluster.at.venv / "bin" / "tracker", "agent", "--node", node, "--cluster", site.cluster.at.name]
    command += ["--spool", site.cluster.at.spool(node), "--url", site.env["TRACKER_URL"], "--sample-every", "3"]
    env = {**fake_nvml, "TRACKER_TOKEN": token, "PATH": os.environ["PATH"]}
    try:
        # The first GPU is another job's, so that ours has the second one.
        other = site.sbatch("sleep 60", "--gres=gpu:1", f"--nodelist={node}")
        site.await_state(other, "RUNNING")
        with subprocess.Popen(command, env=env) as agent:
            job = site.sbatch(BUSY, "--gres=gpu:1", f"--nodelist={node}", "--mem=300")
            run = site.await_truth(job)
            wait_until(lambda: "system/gpu.1.power_watts" in (site.run(job) or {})["summary"])
            run = site.run(job) or run
            wait_until(lambda: gpus(site, other) == [(0, "GPU-of-air-0", "H200")])
            agent.terminate()
    finally:
        site.cluster.start_agent(node)
        site.as_root("scancel", str(other))
    summary = run["summary"]
    own = summary["own percent"]["last"]  # of one core, which others want as well
    assert 0.7 * own < summary["system/cpu.percent"]["max"] < 130, summary
    assert 50e6 < summary["system/memory_bytes"]["max"] < 120e6
    if site.cluster.memory.cgroups:
        assert 18 < summary["system/memory.percent"]["max"] < 40
    assert {name for name in summary if ".gpu." in name or "/gpu." in name} == {
        f"system/gpu.1.{what}"
        for what in ("utilization_percent", "memory_bytes", "memory_percent", "power_watts", "temperature_celsius")
    }
    assert summary["system/gpu.1.utilization_percent"]["last"] == 41
    assert gpus(site, job) == [(1, "GPU-of-air-1", "H200")]


def gpus(site: Site, job: int) -> list[tuple[int, str, str]]:
    attempt = (site.run(job) or {})["attempts"][-1]
    return [(gpu["index"], gpu["uuid"], gpu["type"]) for gpu in attempt["gpus"]]
