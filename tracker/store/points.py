"""Points of a series as columns, and how they are packed: small, quick, and exact to the bit (docs/decisions/009).

Packed points are the lengths in bytes of the packed steps and times, two little-endian numbers of 32 bits, and after
them the packed steps, times and values. Where there are more columns the first number is how many, its highest bit set,
then come the lengths of all, and then they: steps, times, values, rests (store/exact.py), and what a level adds
(store/means.py); one of length 0 is not there. Each column is a standalone file of pcodec, which finds the fewest bits
that its numbers need.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pcodec import ChunkConfig, standalone

from tracker.store import exact

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
_HOW = ChunkConfig(compression_level=6)  # more of it saves less than 1 %, and small segments take three times as long
_LENGTHS = struct.Struct("<II")
_NUMBER = struct.Struct("<I")
_MORE_COLUMNS = 2**31


@dataclass(frozen=True)
class Points:
    """Points of one metric from one writer, in the order written: steps, times in microseconds since 1970, values.

    `rests` are what float64 rounds away of the values; None if that is nothing.
    """

    steps: Ints
    times_us: Ints
    values: Floats
    rests: Ints | None = None

    @classmethod
    def of(cls, steps: Sequence[int], times_us: Sequence[int], values: Sequence[float]) -> Points:
        """Make columns of lists."""
        floats = np.array(values, np.float64)
        rests = exact.rests_of(floats, values.__getitem__)
        return cls(np.array(steps, np.int64), np.array(times_us, np.int64), floats, rests)

    @classmethod
    def joined(cls, pieces: Sequence[Points]) -> Points:
        """Put pieces one after the other."""
        if not pieces:
            return cls.of([], [], [])
        if len(pieces) == 1:
            return pieces[0]
        steps = np.concatenate([one.steps for one in pieces])
        times_us = np.concatenate([one.times_us for one in pieces])
        rests = None
        if any(one.rests is not None for one in pieces):
            rests = np.concatenate([np.zeros(len(one), np.int64) if one.rests is None else one.rests for one in pieces])
        return cls(steps, times_us, np.concatenate([one.values for one in pieces]), rests)

    @classmethod
    def unpacked(cls, packed: bytes) -> Points:
        """What `packed` gave, bit for bit."""
        steps, times, values, *more = columns_of(packed)
        rests = unpacked_column(more[0], np.int64) if more and more[0] else None
        times_us = unpacked_column(times, np.int64)
        return cls(unpacked_column(steps, np.int64), times_us, unpacked_column(values, np.float64), rests)

    def packed(self, *more: bytes) -> bytes:
        """The points in as few bytes as can be; with more columns, packed ones, behind them."""
        has_rests = self.rests is not None and self.rests.any()
        steps, times = (_packed_ints(one.tobytes()) for one in (self.steps, self.times_us))
        columns = [steps, times, packed_column(self.values)]
        if not has_rests and not more:
            return b"".join([_LENGTHS.pack(*map(len, columns[:2])), *columns])
        columns += [packed_column(self.rests) if has_rests and self.rests is not None else b"", *more]
        lengths = [_NUMBER.pack(one) for one in (_MORE_COLUMNS + len(columns), *map(len, columns))]
        return b"".join([*lengths, *columns])

    def numbers(self) -> list[float]:
        """The values as they were logged: whole numbers that are no float64 are `int`."""
        return exact.numbers(self.values, self.rests)

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, which: slice | Ints) -> Points:
        return Points(self.steps[which], self.times_us[which], self.values[which], exact.chosen(self.rests, which))


def columns_of(packed: bytes) -> list[bytes]:
    """The packed columns of packed points: three or more."""
    first, times_bytes = _LENGTHS.unpack_from(packed)
    if first < _MORE_COLUMNS:
        at = _LENGTHS.size
        ends = [at + first, at + first + times_bytes, len(packed)]
    else:
        count = first - _MORE_COLUMNS
        at = _NUMBER.size * (1 + count)
        lengths = np.frombuffer(packed, "<u4", count, _NUMBER.size)
        ends = (at + np.cumsum(lengths, dtype=np.int64)).tolist()
    return [packed[start:end] for start, end in pairwise([at, *ends])]


def packed_column(column: Ints | Floats) -> bytes:
    """A column in as few bytes as can be."""
    return bytes(standalone.simple_compress(np.require(column, requirements=("C", "ALIGNED")), _HOW))


@lru_cache(4)
def _packed_ints(raw: bytes) -> bytes:
    """The metrics of a line have the same steps and times, and are packed one after the other."""
    return packed_column(np.frombuffer(raw, np.int64))


def unpacked_column(packed: bytes, kind: type[np.generic]) -> Any:
    """What `packed_column` gave."""
    column = standalone.simple_decompress(packed)
    return np.empty(0, kind) if column is None else column  # it says nothing of an empty column
