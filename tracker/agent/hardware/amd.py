"""AMD's GPUs, by the files of their driver under /sys.

The driver's files are what AMD's library reads, too, and they are there without ROCm: `gpu_busy_percent`, `unique_id`
and `mem_info_vram_*` of the kernel's documentation of amdgpu ("Misc AMDGPU driver information"), and the sensors of
hwmon ("sysfs-interface": power in microwatts, temperature in thousandths of a degree).
"""

from __future__ import annotations

import os
import re

from tracker.agent.hardware.devices import Device, Driver, DriverGone, GpuReading

ROOT = "/sys"
_VENDOR = "0x1002"


class Amd(Driver):
    """The driver amdgpu."""

    def __init__(self, root: str = ROOT) -> None:
        """List the devices. Raises DriverGone when there is none."""
        folder = f"{root}/class/drm"
        names = [name for name in _listed(folder) if re.match(r"renderD\d+\Z", name)]
        found = {os.path.realpath(f"{folder}/{name}/device"): int(name[7:]) for name in names}
        amd = sorted(path for path in found if _text(f"{path}/vendor") == _VENDOR)  # a path ends with the PCI address
        self.devices = [_AmdDevice(path, found[path]) for path in amd]
        if not self.devices:
            raise DriverGone("there is no GPU of AMD's")


class _AmdDevice(Device):
    def __init__(self, path: str, minor: int) -> None:
        self._path = path
        number = _text(f"{path}/unique_id")
        name = _text(f"{path}/product_name")
        super().__init__(f"GPU-{number}" if number else None, name, minor, os.path.basename(path))

    def read(self) -> GpuReading:
        load = _number(f"{self._path}/gpu_busy_percent")
        microwatts = self._sensor("power1_average", "power1_input")  # newer devices have only the second
        millidegrees = self._sensor("temp1_input", "temp2_input")  # edge; where there is none, the hottest spot
        return GpuReading(
            None if load is None else float(load),
            _number(f"{self._path}/mem_info_vram_used"),
            _number(f"{self._path}/mem_info_vram_total"),
            None if microwatts is None else microwatts / 1e6,
            None if millidegrees is None else millidegrees / 1000,
        )

    def _sensor(self, *names: str) -> int | None:
        places = [f"{self._path}/hwmon/{folder}/{name}" for folder in _listed(f"{self._path}/hwmon") for name in names]
        values = (_number(place) for place in places)
        return next((value for value in values if value is not None), None)


def _listed(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []


def _number(path: str) -> int | None:
    text = _text(path)
    return int(text) if text and text.isdigit() else None


def _text(path: str) -> str | None:
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read(256).strip() or None
    except OSError:
        return None
