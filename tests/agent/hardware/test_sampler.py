"""What is measured of real processes where there are no control groups."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tests.agent.hardware.conftest import (
    BUSY,
    IDLE_GPU,
    IN_JOB,
    MIB,
    FakeNvml,
    Start,
    Watch,
    cpu_s,
    end,
    script,
    slurm_job,
)
from tests.conftest import wait_until
from tracker.agent.hardware.gpus import Gpus, open_driver
from tracker.agent.hardware.job import Roots

NO_GROUPS = Roots(cgroup="/nowhere")


def test_a_busy_script_uses_a_core(start: Start) -> None:
    busy = start(BUSY)
    watch = Watch(script(busy))
    watch.look()
    started_s, was_s = time.time(), cpu_s(busy.pid)
    wait_until(lambda: cpu_s(busy.pid) > was_s + 1)
    (sample,) = watch.look()
    really = (cpu_s(busy.pid) - was_s) / (time.time() - started_s) * 100
    assert abs(sample["system/cpu.percent"] - really) < 15
    assert 0 <= sample["system/node.cpu_percent"] <= 100


def test_memory_is_that_of_the_script_and_its_children(start: Start) -> None:
    code = """
import os, time
if os.fork() == 0:
    kept = bytearray(os.urandom(1)) * 100_000_000
    print(flush=True)
    time.sleep(60)
kept = bytearray(os.urandom(1)) * 50_000_000
print(flush=True)
time.sleep(60)
"""
    parent = start(code)
    assert parent.stdout is not None
    parent.stdout.readline()
    parent.stdout.readline()
    watch = Watch(script(parent))
    sample = watch.first_sample()
    assert 140 * MIB < sample["system/memory_bytes"] < 220 * MIB
    assert "system/memory.percent" not in sample  # there is no limit


def test_what_is_written_to_storage_is_counted(start: Start, tmp_path: Path) -> None:
    disk = Path(__file__).resolve().parents[3] / ".pytest_cache"  # pytest's own folders may be in memory
    disk.mkdir(exist_ok=True)
    file = disk / f"written-by-{os.getpid()}"
    go = tmp_path / "go"
    code = f"""
import os, time
while not os.path.exists({str(go)!r}): time.sleep(0.01)
with open({str(file)!r}, "wb") as file:
    file.write(b"x" * {64 * MIB}); file.flush(); os.fsync(file.fileno())
print(flush=True)
time.sleep(60)
"""
    writer = start(code)
    watch = Watch(script(writer))
    watch.look()
    began_s = time.time()
    go.touch()
    assert writer.stdout is not None
    writer.stdout.readline()
    file.unlink()
    wait_until(lambda: time.time() > began_s + 0.6)
    (sample,) = watch.look()
    written = sample["system/io.write_bytes_per_s"] * (time.time() - began_s)
    assert 40 * MIB < written < 130 * MIB  # the first look was a little before
    assert sample["system/io.read_bytes_per_s"] < 64 * MIB


def test_a_job_without_groups_is_known_by_its_environment(start: Start) -> None:
    start(f"import os\nif os.fork(): os.wait()\nos.environ.clear()\n{BUSY}", **IN_JOB)
    others = [
        start(BUSY, **{**IN_JOB, "SLURM_JOB_ID": "13"}),
        start(BUSY, **{**IN_JOB, "SLURMD_NODENAME": "n2"}),
        start(BUSY, **{**IN_JOB, "SLURM_CLUSTER_NAME": "prod"}),
    ]
    watch = Watch(slurm_job(os.geteuid()), roots=NO_GROUPS)
    sample = watch.first_sample()
    assert 0 < sample["system/cpu.percent"] < 130
    assert len(others) == 3


def test_anothers_process_cannot_enter_a_job(start: Start) -> None:
    start(BUSY, **IN_JOB)
    watch = Watch(slurm_job(os.geteuid() + 1), roots=NO_GROUPS)
    watch.look()
    assert watch.look() == []


def test_another_process_with_the_id_of_a_dead_script_is_not_sampled(start: Start) -> None:
    target = script(start(BUSY))
    (pid, ticks), *_ = target.pids
    watch = Watch(target._replace(pids=((pid, ticks - 1),)))
    watch.look()
    assert watch.look() == []


def test_a_job_that_is_forgotten_says_its_last_moments(start: Start) -> None:
    busy = start(BUSY)
    watch = Watch(script(busy))
    watch.first_sample()
    was_s = cpu_s(busy.pid)
    wait_until(lambda: cpu_s(busy.pid) > was_s + 0.6)
    assert watch.look() == []
    watch.sampler.watch([])
    (last,) = watch.look()
    assert last["system/cpu.percent"] > 2
    assert watch.sampler.pause_s() is None


@pytest.mark.parametrize("step_s", [-3 * 3600, 3 * 3600])
def test_a_clock_that_is_put_right_by_hours_changes_times_and_nothing_else(
    start: Start, monkeypatch: pytest.MonkeyPatch, step_s: float
) -> None:
    watch = Watch(script(start(BUSY)), every_s=0.6)
    watch.first_sample()
    before_s, true = watch.lines[-1][1]["time"], time.time
    monkeypatch.setattr(time, "time", lambda: true() + step_s)
    sample = watch.first_sample()
    assert sample["system/cpu.percent"] > 2
    assert abs(watch.lines[-1][1]["time"] - before_s - step_s) < 300


def test_only_the_jobs_own_gpus_are_read(start: Start, nvml: FakeNvml) -> None:
    start(BUSY, **IN_JOB)
    nvml.says(*(f"{index} GPU-{index} H200 0 {index * 10} 8 80 70000 30" for index in range(4)))
    gpus = Gpus(None, lambda _: None, lambda: open_driver(str(nvml.library)))
    watch = Watch(slurm_job(os.geteuid(), gpus=(1, 3)), roots=NO_GROUPS, gpus=gpus)
    sample = watch.first_sample()
    assert {name: value for name, value in sample.items() if ".gpu." in name or "/gpu." in name} == {
        "system/gpu.1.utilization_percent": 10, "system/gpu.3.utilization_percent": 30,
        "system/gpu.1.memory_bytes": 8, "system/gpu.3.memory_bytes": 8,
        "system/gpu.1.memory_percent": 10, "system/gpu.3.memory_percent": 10,
        "system/gpu.1.power_watts": 70, "system/gpu.3.power_watts": 70,
        "system/gpu.1.temperature_celsius": 30, "system/gpu.3.temperature_celsius": 30,
    }  # fmt: skip
    named = [line for _, line in watch.lines if line.get("event") == "gpus"]
    assert [one["gpus"] for one in named] == [
        [{"index": 1, "uuid": "GPU-1", "name": "H200"}, {"index": 3, "uuid": "GPU-3", "name": "H200"}]
    ]


def test_a_requeued_job_names_its_gpus_again(start: Start, nvml: FakeNvml) -> None:
    nvml.says(f"0 GPU-0 H200 0 {IDLE_GPU}")
    gpus = Gpus(None, lambda _: None, lambda: open_driver(str(nvml.library)))
    watch = Watch(slurm_job(os.geteuid(), gpus=(0,)), roots=NO_GROUPS, gpus=gpus)
    for _ in range(2):
        attempt = start(BUSY, **IN_JOB)
        watch.sampler._next_sample_s = 0  # the next minute
        watch.first_sample()
        end(attempt)
        watch.look()
    assert sum(line.get("event") == "gpus" for _, line in watch.lines) == 2
