"""Tables of any length as CSV or Parquet, written part by part.

A spreadsheet takes a text that begins with `=`, `+`, `-` or `@` for a formula, which may run programs; in CSV such a
text stands behind an apostrophe, and one with their wide forms, too. Numbers are left alone.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

FORMULAS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
CONTENT_TYPES = {"csv": "text/csv", "parquet": "application/vnd.apache.parquet"}


class Column(NamedTuple):
    """A column: its name, and whether it is of `text`, `integer`, `number` or `time`."""

    name: str
    kind: str


Part = Sequence[Sequence[Any]]
"""Some rows, column by column."""


def as_csv(columns: Sequence[Column], parts: Iterator[Part]) -> Iterator[bytes]:
    """UTF-8 with one line of names; what is missing is empty, times are ISO 8601 in UTC."""
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow([_harmless(column.name) for column in columns])
    cells = [_CELLS[column.kind] for column in columns]
    yield _taken(buffer)
    for part in parts:
        shown = [[cell(value) for value in values] for cell, values in zip(cells, part, strict=True)]
        writer.writerows(zip(*shown, strict=True))
        yield _taken(buffer)


def _taken(buffer: io.StringIO) -> bytes:
    text = buffer.getvalue()
    buffer.seek(0)
    buffer.truncate()
    return text.encode()


def _harmless(text: str | None) -> str:
    if text is None or not text.startswith(FORMULAS):
        return text or ""
    try:
        float(text)
    except ValueError:
        return "'" + text
    return text


def _number(value: float | None) -> str:
    if value is None or math.isfinite(value):
        return "" if value is None else repr(value)  # of a whole number that is no float64 all digits
    return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")


def _time(value: datetime | None) -> str:
    return "" if value is None else value.isoformat().replace("+00:00", "Z")


_CELLS: dict[str, Callable[[Any], str]] = {
    "text": _harmless, "integer": lambda value: "" if value is None else str(value), "number": _number, "time": _time,
}  # fmt: skip


class _Sink(io.RawIOBase):
    """What was written since it was last taken."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, piece: Any) -> int:
        self._pieces.append(bytes(piece))
        return len(piece)

    def taken(self) -> bytes:
        whole = b"".join(self._pieces)
        self._pieces.clear()
        return whole


def as_parquet(columns: Sequence[Column], parts: Iterator[Part]) -> Iterator[bytes]:
    """Parquet with a row group a part, packed with zstd; times are microseconds in UTC."""
    import pyarrow  # noqa: PLC0415  # large, and needed by nobody else
    from pyarrow import parquet  # noqa: PLC0415

    kinds = {
        "text": pyarrow.string(), "integer": pyarrow.int64(), "number": pyarrow.float64(),
        "time": pyarrow.timestamp("us", tz="UTC"),
    }  # fmt: skip
    schema = pyarrow.schema([(column.name, kinds[column.kind]) for column in columns])
    sink = _Sink()
    with parquet.ParquetWriter(pyarrow.PythonFile(sink, mode="w"), schema, compression="zstd") as writer:
        for part in parts:
            arrays = [pyarrow.array(values, one.type) for values, one in zip(part, schema, strict=True)]
            writer.write_table(pyarrow.Table.from_arrays(arrays, schema=schema))
            yield sink.taken()
    yield sink.taken()


WRITERS: Mapping[str, Callable[[Sequence[Column], Iterator[Part]], Iterator[bytes]]] = {
    "csv": as_csv, "parquet": as_parquet,
}  # fmt: skip
