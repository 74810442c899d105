"""The GPUs of this node by Slurm's index, and what each does."""

from __future__ import annotations

import time
from typing import Callable

from tracker.agent.hardware.amd import ROOT, Amd
from tracker.agent.hardware.devices import Device, Driver, DriverGone, GpuReading
from tracker.agent.hardware.nvml import LIBRARY, Nvml

REOPEN_AFTER_S = 60.0


def open_driver(library: str = LIBRARY, sysfs: str = ROOT) -> Driver:
    """Open the driver of this node's GPUs. Raises DriverGone with the reason."""
    try:
        nvml = Nvml(library)
    except DriverGone as problem:
        try:
            return Amd(sysfs)
        except DriverGone as other:
            raise DriverGone(f"{problem}, and {other}") from None
    if nvml.is_split:
        nvml.close()
        raise DriverGone("they are split into parts (MIG), of which NVML tells nothing by job")
    return nvml


class Gpus:
    """The node's GPUs. The driver is opened when it is first asked for, and again at most once a minute.

    Slurm counts GPUs along the PCI bus if it found them itself (AutoDetect), and in the order of their device files if
    gres.conf names those; `by_file` says which of it holds here.
    """

    def __init__(
        self,
        by_file: bool,
        say: Callable[[str], None],
        opened: Callable[[], Driver] = open_driver,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._by_file, self._say, self._open, self._clock = by_file, say, opened, clock
        self._driver: Driver | None = None
        self._not_before_s = clock()
        self._told: set[str] = set()

    def device(self, index: int) -> Device | None:
        """Return the device that Slurm calls `index`; None if there is none or nobody can tell."""
        driver = self._opened()
        devices = list(driver.devices) if driver else []
        if self._by_file and all(device.minor is not None for device in devices):
            devices.sort(key=lambda device: device.minor or 0)
        return devices[index] if 0 <= index < len(devices) else None

    def read(self, index: int) -> GpuReading | None:
        """Return what a device does; None if nobody can tell."""
        device = self.device(index)
        try:
            return device.read() if device else None
        except DriverGone as problem:
            self._close(str(problem))
            return None

    def _opened(self) -> Driver | None:
        if self._driver is None and self._clock() >= self._not_before_s:
            self._not_before_s = self._clock() + REOPEN_AFTER_S
            try:
                self._driver = self._open()
            except DriverGone as problem:
                self._tell(f"GPUs are not sampled: {problem}")
        return self._driver

    def _close(self, why: str) -> None:
        self._tell(f"GPUs are not sampled for a while: {why}")
        if self._driver is not None:
            self._driver.close()
        self._driver = None
        self._not_before_s = self._clock() + REOPEN_AFTER_S

    def _tell(self, message: str) -> None:
        if message not in self._told:
            self._told.add(message)
            self._say(message)
