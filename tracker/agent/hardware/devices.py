"""What is asked of a GPU, whoever made it."""

from __future__ import annotations

from typing import NamedTuple, Sequence


class GpuReading(NamedTuple):
    """What a GPU does now; None for what it does not tell."""

    utilization_percent: float | None
    memory_bytes: int | None
    memory_total_bytes: int | None
    power_watts: float | None
    temperature_celsius: float | None


class DriverGone(Exception):
    """The driver cannot be asked: it is not there, was unloaded or replaced. It is right to try again later."""


class Part(NamedTuple):
    """A part of a GPU that is split (MIG), with the numbers of its GPU instance and its compute instance."""

    uuid: str
    instance: tuple[int, int] | None


class Device:
    """A GPU. `minor` is the number of its device file; None where it is not known, as of one that fell off the bus.

    `address` is where it is on the PCI bus. One that is split has `parts`.
    """

    def __init__(
        self,
        uuid: str | None,
        name: str | None,
        minor: int | None,
        address: str | None = None,
        parts: Sequence[Part] | None = None,
    ) -> None:
        self.uuid, self.name, self.minor, self.address, self.parts = uuid, name, minor, address, parts

    def read(self) -> GpuReading:
        """Return what it does now. Raises DriverGone."""
        raise NotImplementedError


class Driver:
    """An open driver with its devices in the order of the PCI bus."""

    devices: Sequence[Device] = ()

    def close(self) -> None:
        """Let go of the driver, so that it can be unloaded."""
