"""NVIDIA's GPUs, by NVML, the library that comes with their driver.

It is called directly: NVML's functions are stable since driver 418, and its Python package would take a third of the
memory that an agent may use. Constants and structures are those of NVIDIA's nvml.h.
"""

from __future__ import annotations

import ctypes
from typing import Any

from tracker.agent.hardware.devices import Device, Driver, DriverGone, GpuReading, Part

LIBRARY = "libnvidia-ml.so.1"
_UUID_BYTES, _NAME_BYTES = 96, 96
_MOST_PARTS = 64
_TEMPERATURE_OF_CHIP = 0
_GONE = {
    1: "NVML is not initialized",
    9: "the driver is not loaded",
    12: "the library lacks a function",
    18: "driver and library are of different versions",
    999: "unknown error",
}


class _Utilization(ctypes.Structure):
    _fields_ = (("gpu", ctypes.c_uint), ("memory", ctypes.c_uint))


class _Memory(ctypes.Structure):
    _fields_ = (("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong))


class _PciInfo(ctypes.Structure):
    _fields_ = (
        ("bus_id_legacy", ctypes.c_char * 16),
        ("domain", ctypes.c_uint),
        ("bus", ctypes.c_uint),
        ("device", ctypes.c_uint),
        ("device_id", ctypes.c_uint),
        ("subsystem_id", ctypes.c_uint),
        ("bus_id", ctypes.c_char * 32),
    )


class Nvml(Driver):
    """NVML, opened. Of GPUs that are split (MIG) it tells what their parts are, but no utilization of a part."""

    def __init__(self, library: str = LIBRARY) -> None:
        """Open the library and list the devices. Raises DriverGone with the reason."""
        try:
            self._library = ctypes.CDLL(library)
        except OSError:
            raise DriverGone(f"there is no {library}") from None
        try:
            self._must("nvmlInit_v2")
            self.devices = self._list()
        except DriverGone:
            self.close()
            raise

    def close(self) -> None:
        """Shut NVML down and unload it: a new driver comes with a new library."""
        self._call("nvmlShutdown")
        import _ctypes  # noqa: PLC0415  # ctypes itself cannot unload

        _ctypes.dlclose(self._library._handle)

    def text(self, function: str, handle: ctypes.c_void_p, length: int) -> str | None:
        """Return a text that a function writes; None if it has none. Raises DriverGone."""
        buffer = ctypes.create_string_buffer(length)
        told = self.told(function, handle, buffer, ctypes.c_uint(length))
        return buffer.value.decode("utf-8", "replace") if told else None

    def told(self, function: str, *arguments: Any) -> bool:
        """Call a function; whether it knew an answer. Raises DriverGone when NVML is of no use any more."""
        code = self._call(function, *arguments)
        if code in _GONE:
            raise DriverGone(f"NVML: {_GONE[code]}")
        return code == 0

    def _list(self) -> list[_NvmlDevice]:
        count = ctypes.c_uint()
        self._must("nvmlDeviceGetCount_v2", ctypes.byref(count))
        return [_NvmlDevice(self, number) for number in range(min(count.value, 1024))]

    def _must(self, function: str, *arguments: Any) -> None:
        code = self._call(function, *arguments)
        if code:
            raise DriverGone(f"NVML: {_GONE.get(code, f'error {code} of {function}')}")

    def _call(self, function: str, *arguments: Any) -> int:
        try:
            return int(getattr(self._library, function)(*arguments))
        except AttributeError:
            return 3  # NVML_ERROR_NOT_SUPPORTED: an older or newer library than ours lacks one


class _NvmlDevice(Device):
    def __init__(self, nvml: Nvml, number: int) -> None:
        self._nvml = nvml
        self._handle = ctypes.c_void_p()
        uuid = name = minor = address = parts = None
        if nvml.told("nvmlDeviceGetHandleByIndex_v2", ctypes.c_uint(number), ctypes.byref(self._handle)):
            uuid = nvml.text("nvmlDeviceGetUUID", self._handle, _UUID_BYTES)
            name = nvml.text("nvmlDeviceGetName", self._handle, _NAME_BYTES)
            minor = self._number("nvmlDeviceGetMinorNumber")
            address, parts = self._address(), self._parts()
        super().__init__(uuid, name, minor, address, parts)

    def _address(self) -> str | None:
        info = _PciInfo()
        if not self._told("nvmlDeviceGetPciInfo_v3", ctypes.byref(info)):
            return None
        return bytes(info.bus_id).decode("ascii", "replace")

    def _parts(self) -> list[Part] | None:
        """The parts in NVML's order; None of a GPU that is not split."""
        current, pending = ctypes.c_uint(), ctypes.c_uint()
        told = self._told("nvmlDeviceGetMigMode", ctypes.byref(current), ctypes.byref(pending))
        if not told or current.value != 1:
            return None
        most = self._number("nvmlDeviceGetMaxMigDeviceCount") or 0
        found = (self._part(number) for number in range(min(most, _MOST_PARTS)))
        return [part for part in found if part]

    def _part(self, number: int) -> Part | None:
        handle, gpu, compute = ctypes.c_void_p(), ctypes.c_uint(), ctypes.c_uint()
        if not self._told("nvmlDeviceGetMigDeviceHandleByIndex", ctypes.c_uint(number), ctypes.byref(handle)):
            return None
        uuid = self._nvml.text("nvmlDeviceGetUUID", handle, _UUID_BYTES)
        knows = self._nvml.told("nvmlDeviceGetGpuInstanceId", handle, ctypes.byref(gpu)) and self._nvml.told(
            "nvmlDeviceGetComputeInstanceId", handle, ctypes.byref(compute)
        )
        return Part(uuid, (gpu.value, compute.value) if knows else None) if uuid else None

    def read(self) -> GpuReading:
        if self.parts is not None:
            return GpuReading(None, None, None, None, None)  # what it does is that of several jobs
        utilization, memory = _Utilization(), _Memory()
        knows_load = self._told("nvmlDeviceGetUtilizationRates", ctypes.byref(utilization))
        knows_memory = self._told("nvmlDeviceGetMemoryInfo", ctypes.byref(memory))
        milliwatts = self._number("nvmlDeviceGetPowerUsage")
        return GpuReading(
            float(utilization.gpu) if knows_load else None,
            memory.used if knows_memory else None,
            memory.total if knows_memory else None,
            None if milliwatts is None else milliwatts / 1000,
            self._number("nvmlDeviceGetTemperature", ctypes.c_int(_TEMPERATURE_OF_CHIP)),
        )

    def _number(self, function: str, *arguments: Any) -> int | None:
        value = ctypes.c_uint()
        return value.value if self._told(function, *arguments, ctypes.byref(value)) else None

    def _told(self, function: str, *arguments: Any) -> bool:
        return bool(self._handle) and self._nvml.told(function, self._handle, *arguments)
