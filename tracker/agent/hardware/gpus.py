"""The GPUs of this node by Slurm's index, and what each does."""

from __future__ import annotations

import time
from typing import Callable, Sequence

from tracker.agent.hardware.amd import ROOT, Amd
from tracker.agent.hardware.devices import Device, Driver, DriverGone, GpuReading
from tracker.agent.hardware.kept import KeptTable
from tracker.agent.hardware.nvml import LIBRARY, Nvml
from tracker.agent.hardware.slots import Slot, slots

REOPEN_AFTER_S = 60.0


def open_driver(library: str = LIBRARY, sysfs: str = ROOT) -> Driver:
    """Open the driver of this node's GPUs. Raises DriverGone with the reason."""
    try:
        return Nvml(library)
    except DriverGone as problem:
        try:
            return Amd(sysfs)
        except DriverGone as other:
            raise DriverGone(f"{problem}, and {other}") from None


class Gpus:
    """The node's GPUs by Slurm's index. The driver is opened when first asked for, and again at most once a minute.

    `files` are those that gres.conf names (see gres.py). Which of Slurm's indices is which device is found out when the
    driver is opened, not for each job, and with `kept` once per boot.
    """

    def __init__(
        self,
        files: Sequence[Sequence[str]] | None,
        say: Callable[[str], None],
        opened: Callable[[], Driver] = open_driver,
        clock: Callable[[], float] = time.monotonic,
        kept: KeptTable | None = None,
    ) -> None:
        self._files, self._say, self._open, self._clock, self._kept = files, say, opened, clock, kept
        self._driver: Driver | None = None
        self._table: list[Slot] = []
        self._not_before_s = clock()
        self._told: set[str] = set()

    def slot(self, index: int) -> Slot | None:
        """Return what Slurm calls `index`; None if there is nothing or nobody can tell."""
        self._opened()
        slot = self._table[index] if 0 <= index < len(self._table) else None
        return slot if slot and slot.device else None

    def device(self, index: int) -> Device | None:
        """Return the device of that index, which several may have; None if there is none or nobody can tell."""
        slot = self.slot(index)
        return slot.device if slot else None

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
                found = slots(self._driver.devices, self._files)
                self._table = self._kept.settle(found, self._files) if self._kept else found
            except DriverGone as problem:
                self._tell(f"GPUs are not sampled: {problem}")
        return self._driver

    def _close(self, why: str) -> None:
        self._tell(f"GPUs are not sampled for a while: {why}")
        if self._driver is not None:
            self._driver.close()
        self._driver, self._table = None, []
        self._not_before_s = self._clock() + REOPEN_AFTER_S

    def _tell(self, message: str) -> None:
        if message not in self._told:
            self._told.add(message)
            self._say(message)
