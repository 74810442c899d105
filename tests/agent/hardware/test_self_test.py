"""What `tracker doctor` says of the GPUs of a node."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.agent.hardware.conftest import IDLE_GPU, FakeNvml
from tracker.agent.hardware.gpus import open_driver
from tracker.agent.hardware.self_test import Verdict, look_over_gpus

FILES = [["/dev/nvidia0"], ["/dev/nvidia1"]]


def verdict(nvml: FakeNvml, files: list[list[str]] | None, *devices: str) -> Verdict:
    nvml.says(*(f"{one} {IDLE_GPU}" for one in devices))
    found = look_over_gpus(files, lambda: open_driver(str(nvml.library), "/nowhere"))
    assert found is not None
    return found


def test_each_index_has_its_device(nvml: FakeNvml) -> None:
    told = verdict(nvml, FILES, "0 GPU-a H200 0", "1 GPU-b H200 0")
    assert told == Verdict(
        True,
        "2 GPUs by the files of gres.conf: 0 is GPU-a at 00000000:01:00.0, 1 is GPU-b at 00000000:02:00.0",
    )
    assert "along the PCI bus" in verdict(nvml, None, "0 GPU-a H200 0").detail


def test_another_order_is_fine_and_told(nvml: FakeNvml) -> None:
    told = verdict(nvml, FILES, "1 GPU-b H200 0", "0 GPU-a H200 0", "2 GPU-c H200 0")
    assert told.ok
    assert "the order differs from the driver's (Slurm's GPU 0 is 1 in nvidia-smi)" in told.detail
    assert "1 more on this node are not handed out by Slurm" in told.detail


def test_a_device_that_is_missing_is_told_with_the_way_out(nvml: FakeNvml) -> None:
    told = verdict(nvml, FILES, "0 GPU-a H200 0")
    assert not told.ok
    assert told.detail.startswith("gres.conf names /dev/nvidia1 as GPU 1, which the driver does not know")
    assert "restart slurmd" in told.detail
    twice = verdict(nvml, [*FILES, FILES[0]], "0 GPU-a H200 0", "1 GPU-b H200 0")
    assert twice == Verdict(False, "gres.conf names the same device as GPU 0 and 2: name each once.")


def test_a_split_gpu_that_gres_conf_names_as_a_whole_is_told(nvml: FakeNvml) -> None:
    told = verdict(nvml, FILES[:1], "0 GPU-a A100 MIG-a@1.0")
    assert not told.ok
    assert "MultipleFiles" in told.detail
    assert verdict(nvml, None, "0 GPU-a A100 MIG-a@1.0,MIG-b@2.0").detail.startswith("2 GPUs along the PCI bus")


def test_without_a_driver_it_depends_on_the_files_of_gres_conf(nvml: FakeNvml, tmp_path: Path) -> None:
    nvml.says(init="9")
    opened = lambda: open_driver(str(nvml.library), "/nowhere")  # noqa: E731
    device = tmp_path / "nvidia0"
    assert look_over_gpus(None, opened) is None
    assert look_over_gpus([[str(device)]], opened) is None  # a login node, with the gres.conf of all
    device.touch()
    told = look_over_gpus([[str(device)]], opened)
    assert told is not None
    assert not told.ok
    assert "load the driver" in told.detail


def test_the_doctor_of_a_node_looks_at_its_gres_conf(nvml: FakeNvml, tmp_path: Path) -> None:
    nvml.says(f"1 GPU-b H200 0 {IDLE_GPU}", f"0 GPU-a H200 0 {IDLE_GPU}")
    (tmp_path / "gres.conf").write_text("NodeName=n[1-2] Name=gpu File=/dev/nvidia[0-1]\n")
    env = {**os.environ, **nvml.env, "SLURM_CONF": f"{tmp_path}/slurm.conf", "SLURMD_NODENAME": "n2"}
    command = [sys.executable, "-m", "tracker", "doctor", "--database", f"sqlite:///{tmp_path}/a.db", "--json"]
    answer = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    (told,) = [one for one in json.loads(answer.stdout) if one["name"] == "gpus"]
    assert told["ok"]
    assert "0 is GPU-a" in told["detail"]
