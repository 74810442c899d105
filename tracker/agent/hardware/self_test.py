"""Whether Slurm's indices of the GPUs of this node can be told from each other: what `tracker doctor` says of them."""

from __future__ import annotations

import os
from typing import Callable, NamedTuple, Sequence

from tracker.agent.hardware.devices import Device, Driver, DriverGone
from tracker.agent.hardware.gpus import open_driver
from tracker.agent.hardware.slots import Slot, slots

_MOST_NAMED = 8


class Verdict(NamedTuple):
    """Whether it is sound, and what was seen or what to do."""

    ok: bool
    detail: str


def look_over_gpus(files: Sequence[Sequence[str]] | None, opened: Callable[[], Driver] = open_driver) -> Verdict | None:
    """Compare the files of gres.conf with what the driver tells; None where neither knows of a GPU."""
    try:
        driver = opened()
    except DriverGone as problem:
        if files is None or not any(os.path.exists(path) for one in files for path in one):
            return None  # gres.conf may be the same on machines that have none
        way_out = "Jobs get their GPUs all the same, but their UUIDs and what they do are not known: load the driver."
        return Verdict(False, f"gres.conf names {len(files)} GPUs, but {problem}. {way_out}")
    try:
        return _verdict(driver.devices, files)
    finally:
        driver.close()


def _verdict(devices: Sequence[Device], files: Sequence[Sequence[str]] | None) -> Verdict:
    found = slots(devices, files)
    for index, slot in enumerate(found):
        if slot.device is None:
            said = f"gres.conf names {slot.files[0][:200]} as GPU {index}, which the driver does not know"
            known = ", ".join(f"{one.minor}" for one in devices if one.minor is not None)
            way_out = "put gres.conf right and restart slurmd, or find out what became of the device (nvidia-smi)"
            return Verdict(False, f"{said} (it knows the numbers {known or 'of none'}): {way_out}.")
        if slot.device.parts is not None and slot.part is None:
            said = f"GPU {index} is split (MIG), and which part gres.conf means by {slot.files[0][:200]} is not known"
            return Verdict(False, f"{said}: name its parts with MultipleFiles, or use AutoDetect=nvml.")
    twice = _twice(found)
    if twice is not None:
        return Verdict(False, f"gres.conf names the same device as GPU {twice[0]} and {twice[1]}: name each once.")
    return Verdict(True, "; ".join(filter(None, (_table(found, files), _order(devices, found), _left(devices, found)))))


def _table(found: Sequence[Slot], files: Sequence[Sequence[str]] | None) -> str:
    how = "by the files of gres.conf" if files is not None else "along the PCI bus, as Slurm finds them itself"
    named = ", ".join(f"{index} is {_name(slot)}" for index, slot in enumerate(found[:_MOST_NAMED]))
    more = f" and {len(found) - _MOST_NAMED} more" if len(found) > _MOST_NAMED else ""
    return f"{len(found)} GPUs {how}: {named}{more}"


def _name(slot: Slot) -> str:
    device = slot.device
    assert device is not None
    where = f" at {device.address}" if device.address else ""
    return f"{slot.part.uuid if slot.part else device.uuid}{where}"


def _order(devices: Sequence[Device], found: Sequence[Slot]) -> str:
    """What to know when others count by the driver's order."""
    places = [next(place for place, one in enumerate(devices) if one is slot.device) for slot in found]
    if places == sorted(places):
        return ""
    index = next(index for index, place in enumerate(places) if index != place)
    other = f"Slurm's GPU {index} is {places[index]} in nvidia-smi"
    return f"the order differs from the driver's ({other}), which is fine here"


def _left(devices: Sequence[Device], found: Sequence[Slot]) -> str:
    used = {id(slot.device) for slot in found}
    left = sum(id(one) not in used for one in devices)
    return f"{left} more on this node are not handed out by Slurm" if left else ""


def _twice(found: Sequence[Slot]) -> tuple[int, int] | None:
    seen: dict[tuple[int, str | None], int] = {}
    for index, slot in enumerate(found):
        key = (id(slot.device), slot.part.uuid if slot.part else None)
        if key in seen:
            return seen[key], index
        seen[key] = index
    return None
