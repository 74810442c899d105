"""Which device, or which part of one, stands behind each of Slurm's indices on a node."""

from __future__ import annotations

import re
from typing import Iterator, NamedTuple, Sequence

from tracker.agent.hardware.devices import Device, Part
from tracker.agent.hardware.gres import device_number

MIG_MINORS = "/proc/driver/nvidia-caps/mig-minors"


class Slot(NamedTuple):
    """A GPU or a part of one; `device` is None where the driver does not know the file that gres.conf names."""

    device: Device | None
    part: Part | None
    files: Sequence[str] = ()


def slots(devices: Sequence[Device], files: Sequence[Sequence[str]] | None, mig_minors: str = MIG_MINORS) -> list[Slot]:
    """Return them in Slurm's order. `files` are those of gres.conf; None: Slurm finds the devices itself.

    It counts these along the PCI bus then, and the parts of one that is split in the order of NVML
    (src/plugins/gpu/nvml/gpu_nvml.c of Slurm 24.11).
    """
    if files is None:
        return [slot for device in devices for slot in _of_device(device)]
    by_minor = {device.minor: device for device in devices if device.minor is not None}
    instances = _instances(mig_minors) if any(len(one) > 1 for one in files) else {}
    return [_of_files(one, by_minor, instances) for one in files]


def _of_device(device: Device) -> Iterator[Slot]:
    if device.parts is None:
        yield Slot(device, None)
    for part in device.parts or ():
        yield Slot(device, part)


def _of_files(files: Sequence[str], by_minor: dict[int, Device], instances: dict[int, tuple[int, int]]) -> Slot:
    """The GPU of the first file; the part is the one that the capability with a compute instance names."""
    minor = device_number(files[0]) if files else None
    device = None if minor is None else by_minor.get(minor)
    named = {instances.get(device_number(one) or -1) for one in files[1:]}
    for part in (device.parts or ()) if device else ():
        if part.instance in named:
            return Slot(device, part, files)
    return Slot(device, None, files)


def _instances(path: str) -> dict[int, tuple[int, int]]:
    """GPU instance and compute instance by the minor number of their capability file, as the driver tells them."""
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            text = file.read(1024 * 1024)
    except OSError:
        return {}
    found = re.findall(r"^gpu[0-9]+/gi([0-9]+)/ci([0-9]+)/access ([0-9]+)$", text, re.MULTILINE)
    return {int(minor): (int(gpu), int(compute)) for gpu, compute, minor in found}
