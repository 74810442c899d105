"""NVIDIA's GPUs: the real way through ctypes into a library that a test makes say anything."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.agent.hardware.conftest import IDLE_GPU, FakeNvml
from tracker.agent.hardware.devices import DriverGone, GpuReading
from tracker.agent.hardware.gpus import REOPEN_AFTER_S, Gpus, open_driver
from tracker.agent.hardware.kept import KeptTable
from tracker.agent.hardware.nvml import Nvml
from tracker.agent.hardware.slots import slots


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def gpus(
    nvml: FakeNvml, files: list[list[str]] | None = None, kept: KeptTable | None = None
) -> tuple[Gpus, list[str], Clock]:
    said: list[str] = []
    clock = Clock()
    opened = lambda: open_driver(str(nvml.library), "/nowhere")  # noqa: E731
    return Gpus(files, said.append, opened, clock, kept), said, clock


def test_a_device_tells_what_it_is_and_does(nvml: FakeNvml) -> None:
    nvml.says(f"0 GPU-a H200 0 {IDLE_GPU}", "1 GPU-b H200 0 97 60000000000 80000000000 654321 71")
    found, said, _ = gpus(nvml)
    device = found.device(1)
    assert device is not None
    assert (device.uuid, device.name, device.minor) == ("GPU-b", "H200", 1)
    assert found.read(1) == GpuReading(97, 60_000_000_000, 80_000_000_000, 654.321, 71)
    assert found.device(2) is None
    assert said == []


def test_what_a_device_does_not_know_is_left_out(nvml: FakeNvml) -> None:
    nvml.says("0 GPU-a T400 !3 12 1000 2000 !3 40")
    found, _, _ = gpus(nvml)
    assert found.read(0) == GpuReading(12, 1000, 2000, None, 40)


def test_a_device_that_fell_off_the_bus_keeps_its_place(nvml: FakeNvml) -> None:
    nvml.says("!15 ? ? 0 0 0 0 0 0", f"1 GPU-b H200 0 {IDLE_GPU}")
    found, _, _ = gpus(nvml)
    assert found.read(0) == GpuReading(None, None, None, None, None)
    device = found.device(1)
    assert device is not None
    assert device.uuid == "GPU-b"


def test_a_device_that_is_lost_while_it_is_sampled_says_nothing_and_the_others_go_on(nvml: FakeNvml) -> None:
    nvml.says(f"0 GPU-a H200 0 {IDLE_GPU}", f"1 GPU-b H200 0 {IDLE_GPU}")
    found, said, _ = gpus(nvml)
    assert found.read(0) is not None
    nvml.says("0 GPU-a H200 !15 !15 !15 !15 !15 !15", f"1 GPU-b H200 0 {IDLE_GPU}")
    assert found.read(0) == GpuReading(None, None, None, None, None)
    reading = found.read(1)
    assert reading is not None
    assert reading.power_watts == 70
    assert said == []


def test_a_driver_that_is_replaced_is_opened_again_within_a_minute(nvml: FakeNvml) -> None:
    nvml.says(f"0 GPU-a H200 0 {IDLE_GPU}")
    found, said, clock = gpus(nvml)
    assert found.read(0) is not None
    nvml.says(init="18")
    assert found.read(0) is None
    nvml.says(f"0 GPU-b H200 0 {IDLE_GPU}")
    assert found.read(0) is None  # not at once: opening a driver costs
    clock.now_s += REOPEN_AFTER_S
    device = found.device(0)
    assert device is not None
    assert device.uuid == "GPU-b"
    assert said == ["GPUs are not sampled for a while: NVML: driver and library are of different versions"]


def test_a_node_without_driver_says_so_once(nvml: FakeNvml) -> None:
    nvml.says(init="9")
    found, said, clock = gpus(nvml)
    for _ in range(3):
        assert found.read(0) is None
        clock.now_s += REOPEN_AFTER_S
    assert said == ["GPUs are not sampled: NVML: the driver is not loaded, and there is no GPU of AMD's"]


def test_a_node_without_library_says_so_once(tmp_path: Path) -> None:
    with pytest.raises(DriverGone, match=r"there is no .*libnvidia-ml\.so\.1, and there is no GPU of AMD's"):
        open_driver(str(tmp_path / "libnvidia-ml.so.1"), "/nowhere")


PARTS = "MIG-a@1.0,MIG-b@2.0"


def names(found: Gpus, count: int) -> list[tuple[str | None, str | None] | None]:
    """UUIDs of the device and of the part behind each of Slurm's indices."""
    slots = [found.slot(index) for index in range(count)]
    return [(one.device.uuid, one.part.uuid if one.part else None) if one and one.device else None for one in slots]


def test_a_gpu_that_is_split_does_not_hide_those_that_are_whole(nvml: FakeNvml) -> None:
    nvml.says(f"0 GPU-a A100 {PARTS} {IDLE_GPU}", "1 GPU-b A100 0 50 1 2 70000 30")
    found, said, _ = gpus(nvml)
    assert names(found, 4) == [("GPU-a", "MIG-a"), ("GPU-a", "MIG-b"), ("GPU-b", None), None]
    assert found.read(1) == GpuReading(None, None, None, None, None)  # what it does is that of several jobs
    reading = found.read(2)
    assert reading is not None
    assert reading.utilization_percent == 50
    assert said == []


def test_slurms_index_follows_the_bus_or_the_device_files(nvml: FakeNvml) -> None:
    bus = ("2 GPU-x H200 0", "0 GPU-y H200 0", "1 GPU-z H200 0")
    nvml.says(*(f"{one} {IDLE_GPU}" for one in bus))
    assert names(gpus(nvml)[0], 3) == [("GPU-x", None), ("GPU-y", None), ("GPU-z", None)]
    files = [["/dev/nvidia1"], ["/dev/nvidia2"], ["/dev/nvidia7"]]  # not all of them, nor in the driver's order
    assert names(gpus(nvml, files)[0], 4) == [("GPU-z", None), ("GPU-x", None), None, None]


def test_indices_stay_for_the_rest_of_a_boot_as_they_were_found(nvml: FakeNvml, tmp_path: Path) -> None:
    """A device that is gone leaves its place empty: slurmd counted it when it started."""
    boot, table = tmp_path / "boot_id", tmp_path / "gpus.json"
    boot.write_text("first")

    def found(*uuids: str, files: list[list[str]] | None = None) -> list[str | None]:
        nvml.says(*(f"{uuid[-1]} {uuid} H200 0 {IDLE_GPU}" for uuid in uuids))
        told = names(gpus(nvml, files, KeptTable(str(table), str(boot)))[0], 3)
        return [one[0] if one else None for one in told]

    assert found("GPU-0", "GPU-1", "GPU-2") == ["GPU-0", "GPU-1", "GPU-2"]
    assert found("GPU-0", "GPU-2") == ["GPU-0", None, "GPU-2"]
    assert found("GPU-0", "GPU-1", "GPU-2") == ["GPU-0", "GPU-1", "GPU-2"]
    assert found("GPU-0", "GPU-3") == ["GPU-0", "GPU-3", None]  # another one in its place
    assert found("GPU-0", "GPU-3", files=[["/dev/nvidia3"], ["/dev/nvidia0"]]) == ["GPU-3", "GPU-0", None]
    assert found("GPU-0") == ["GPU-0", None, None]
    for spoilt in ("", "[]", '{"boot": "first", "files": null, "slots": [1]}'):
        table.write_text(spoilt)
        assert found("GPU-0", "GPU-3") == ["GPU-0", "GPU-3", None]
    assert found("GPU-3") == [None, "GPU-3", None]
    boot.write_text("second")
    assert found("GPU-3") == ["GPU-3", None, None]


def test_a_part_is_known_by_the_capability_that_gres_conf_names(nvml: FakeNvml, tmp_path: Path) -> None:
    nvml.says(f"1 GPU-a A100 {PARTS} {IDLE_GPU}")
    minors = tmp_path / "mig-minors"
    minors.write_text("config 1\ngpu1/gi1/access 30\ngpu1/gi1/ci0/access 31\ngpu1/gi2/ci0/access 40\n")
    files = [["/dev/nvidia1", f"/dev/nvidia-caps/nvidia-cap{one}"] for one in (40, 31)]
    driver = open_driver(str(nvml.library), "/nowhere")
    found = slots(driver.devices, files, str(minors))
    assert [one.part.uuid if one.part else None for one in found] == ["MIG-b", "MIG-a"]
    assert [one.device.address if one.device else None for one in found] == ["00000000:01:00.0"] * 2
    assert [one.part for one in slots(driver.devices, files, "/nowhere")] == [None, None]


@pytest.mark.gpu
def test_a_real_gpu_tells_what_it_is_and_does() -> None:
    nvml = Nvml()
    assert nvml.devices
    for device in nvml.devices:
        assert device.uuid is not None
        assert device.uuid.startswith("GPU-")
        assert device.name
        assert device.minor is not None
        reading = device.read()
        assert reading.utilization_percent is None or 0 <= reading.utilization_percent <= 100
        assert reading.memory_bytes is not None
        assert reading.memory_total_bytes is not None
        assert 0 <= reading.memory_bytes <= reading.memory_total_bytes
        assert reading.memory_total_bytes > 2**30
        assert reading.power_watts is None or 0 < reading.power_watts < 3000
        assert reading.temperature_celsius is None or 0 < reading.temperature_celsius < 120
    nvml.close()
