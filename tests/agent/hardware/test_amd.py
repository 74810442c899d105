"""AMD's GPUs: a tree of files as the driver amdgpu makes it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tracker.agent.hardware.amd import Amd
from tracker.agent.hardware.devices import DriverGone, GpuReading


def card(sysfs: Path, minor: int, address: str, **files: object) -> None:
    """A PCI device and its render node; `hwmon/x` is a sensor."""
    device = sysfs / "devices" / "pci0000:00" / address
    for name, content in {"vendor": "0x1002", **files}.items():
        path = device / name.replace("hwmon/", "hwmon/hwmon3/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{content}\n")
    node = sysfs / "class" / "drm" / f"renderD{minor}"
    node.mkdir(parents=True)
    (node / "device").symlink_to(device)


def test_devices_stand_in_the_order_of_the_bus_and_tell_what_they_do(tmp_path: Path) -> None:
    sensors = {"hwmon/power1_average": 305_000_000, "hwmon/temp1_input": 51_000, "hwmon/temp2_input": 64_000}
    memory = {"mem_info_vram_used": 2**30, "mem_info_vram_total": 2**36}
    known = {"unique_id": "5c88007e84d1c4a9", "product_name": "Instinct MI210", "gpu_busy_percent": 88}
    card(tmp_path, 128, "0000:c3:00.0", unique_id="aa", **memory)
    card(tmp_path, 129, "0000:43:00.0", **known, **memory, **sensors)
    card(tmp_path, 130, "0000:01:00.0", vendor="0x10de")
    first, second = Amd(str(tmp_path)).devices
    assert (first.uuid, first.name, first.minor) == ("GPU-5c88007e84d1c4a9", "Instinct MI210", 129)
    assert first.read() == GpuReading(88, 2**30, 2**36, 305, 51)
    assert (second.uuid, second.name) == ("GPU-aa", None)
    assert second.read() == GpuReading(None, 2**30, 2**36, None, None)


def test_newer_devices_name_their_sensors_otherwise(tmp_path: Path) -> None:
    card(tmp_path, 128, "0000:c3:00.0", **{"hwmon/power1_input": 140_000_000, "hwmon/temp2_input": 64_000})
    (device,) = Amd(str(tmp_path)).devices
    assert device.read() == GpuReading(None, None, None, 140, 64)


def test_a_machine_without_amd_gpu_has_none(tmp_path: Path) -> None:
    with pytest.raises(DriverGone):
        Amd(str(tmp_path))
