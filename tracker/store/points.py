"""Points of a series as columns, and how they are packed: small, quick, and exact to the bit (docs/decisions/009).

Packed points are the lengths in bytes of the packed steps and times, two little-endian numbers of 32 bits, and after
them the packed steps, times and values. Each column is a standalone file of pcodec, which finds the fewest bits that
its numbers need.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pcodec import ChunkConfig, standalone

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
_HOW = ChunkConfig(compression_level=6)  # more of it saves less than 1 %, and small segments take three times as long
_LENGTHS = struct.Struct("<II")


@dataclass(frozen=True)
class Points:
    """Points of one metric from one writer, in the order written: steps, times in microseconds since 1970, values."""

    steps: Ints
    times_us: Ints
    values: Floats

    @classmethod
    def of(cls, steps: Sequence[int], times_us: Sequence[int], values: Sequence[float]) -> Points:
        """Make columns of lists."""
        return cls(np.array(steps, np.int64), np.array(times_us, np.int64), np.array(values, np.float64))

    @classmethod
    def joined(cls, pieces: Sequence[Points]) -> Points:
        """Put pieces one after the other."""
        if not pieces:
            return cls.of([], [], [])
        if len(pieces) == 1:
            return pieces[0]
        steps = np.concatenate([one.steps for one in pieces])
        times_us = np.concatenate([one.times_us for one in pieces])
        return cls(steps, times_us, np.concatenate([one.values for one in pieces]))

    @classmethod
    def unpacked(cls, packed: bytes) -> Points:
        """What `packed` gave, bit for bit."""
        steps_bytes, times_bytes = _LENGTHS.unpack_from(packed)
        times_at = _LENGTHS.size + steps_bytes
        values_at = times_at + times_bytes
        steps, times = packed[_LENGTHS.size : times_at], packed[times_at:values_at]
        return cls(_unpacked(steps, np.int64), _unpacked(times, np.int64), _unpacked(packed[values_at:], np.float64))

    def packed(self) -> bytes:
        """The points in as few bytes as can be."""
        steps, times, values = _packed(self.steps), _packed(self.times_us), _packed(self.values)
        return _LENGTHS.pack(len(steps), len(times)) + steps + times + values

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, which: slice | Ints) -> Points:
        return Points(self.steps[which], self.times_us[which], self.values[which])


def _packed(column: Ints | Floats) -> bytes:
    return bytes(standalone.simple_compress(np.require(column, requirements=("C", "ALIGNED")), _HOW))


def _unpacked(packed: bytes, kind: type[np.generic]) -> Any:
    column = standalone.simple_decompress(packed)
    return np.empty(0, kind) if column is None else column  # it says nothing of an empty column
