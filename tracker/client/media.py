"""Histograms and tables as the lines of docs/spool.md say them. Needs no numpy, yet is quick where arrays come."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from tracker.client import encode
from tracker.client.encode import Unusable
from tracker.client.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any, Iterator

MOST_BINS = 512
MOST_COLUMNS = 500
MOST_TABLE_BYTES = 900_000  # of rows in one line
MOST_CELL_CHARS = 2000


def histogram(values: Any, bins: Any = 64) -> dict[str, Any]:
    """Count numbers in equal bins from `low` to `high`; NaN and infinities are counted apart. Raises Unusable."""
    count = encode.as_step(bins)[0]
    if count is None or not 1 <= count <= MOST_BINS:
        raise Unusable(f"a histogram has 1 to {MOST_BINS} bins")
    return _counted_by_numpy(values, count) if hasattr(values, "dtype") else _counted(list(_numbers(values)), count)


def _counted_by_numpy(values: Any, bins: int) -> dict[str, Any]:
    import numpy  # noqa: PLC0415  # the values are an array, so it is there

    from tracker.client.images import as_array  # noqa: PLC0415  # knows tensors

    array = as_array(values).ravel()
    if array.dtype.kind not in "biuf":
        raise Unusable(f"an array of {array.dtype} has no numbers to count")
    array = array.astype("float64")
    finite = array[numpy.isfinite(array)]
    not_finite = {
        "NaN": int(numpy.isnan(array).sum()),
        "Infinity": int(numpy.isposinf(array).sum()),
        "-Infinity": int(numpy.isneginf(array).sum()),
    }
    if not len(finite):
        return _told(0.0, 0.0, [], not_finite)
    low, high = _ends(float(finite.min()), float(finite.max()))
    if low == high:
        return _told(low, high, [len(finite)], not_finite)
    return _told(low, high, numpy.histogram(finite, bins, (low, high))[0].tolist(), not_finite)


def _counted(numbers: list[float], bins: int) -> dict[str, Any]:
    finite = [number for number in numbers if math.isfinite(number)]
    not_finite = {
        "NaN": sum(map(math.isnan, numbers)),
        "Infinity": numbers.count(math.inf),
        "-Infinity": numbers.count(-math.inf),
    }
    if not finite:
        return _told(0.0, 0.0, [], not_finite)
    low, high = _ends(min(finite), max(finite))
    if low == high:
        return _told(low, high, [len(finite)], not_finite)
    counts = [0] * bins
    for number in finite:
        counts[min(int((number - low) / (high - low) * bins), bins - 1)] += 1
    return _told(low, high, counts, not_finite)


def _ends(low: float, high: float) -> tuple[float, float]:
    if not math.isfinite(high - low):
        raise Unusable(f"numbers from {low:.4g} to {high:.4g} lie too far apart for equal bins")
    return low, high


def _told(low: float, high: float, counts: list[int], not_finite: dict[str, int]) -> dict[str, Any]:
    beside = {word: count for word, count in not_finite.items() if count}
    return {"low": low, "high": high, "counts": counts, **({"not_finite": beside} if beside else {})}


def _numbers(values: Any, depth: int = 0) -> Iterator[float]:
    if isinstance(values, (str, bytes, Mapping)) or not isinstance(values, Iterable):
        raise Unusable(f"{type(values).__name__} is no list of numbers")
    for value in values:
        if isinstance(value, (list, tuple)) and depth < encode.MAX_NESTING:
            yield from _numbers(value, depth + 1)
            continue
        number, reason = encode.as_number(value)
        if number is None:
            raise Unusable(reason)
        yield float(number)


def table(columns: Any, rows: Any = None) -> tuple[dict[str, Any], str | None]:
    """Return a table's columns and rows, and what was left out if it is too large. Raises Unusable.

    Instead of columns and rows there may be a list of dictionaries, a dictionary of columns, or a data frame.
    """
    names, given = _columns_and_rows(columns, rows)
    if not names:
        raise Unusable("a table needs columns")
    names = [encode.clean(name)[:500] for name in names]
    width = min(len(names), MOST_COLUMNS)
    kept: list[list[Any]] = []
    room = MOST_TABLE_BYTES - sum(len(name) for name in names[:width])
    for row in given:
        cells = [_cell(value) for value in list(row)[:width]]
        room -= len(encode.line_of({"": cells}))
        if room < 0:
            break
        kept.append(cells + [None] * (width - len(cells)))
    told: dict[str, Any] = {"columns": names[:width], "rows": kept, "row_count": len(given)}
    left_out = []
    if len(kept) < len(given):
        left_out.append(f"the first {len(kept)} of {len(given)} rows")
    if width < len(names):
        left_out.append(f"the first {width} of {len(names)} columns")
    return told, f"too large for one line, {' and '.join(left_out)} are kept" if left_out else None


def _columns_and_rows(columns: Any, rows: Any) -> tuple[list[Any], list[Any]]:
    if rows is not None:
        return list(columns), list(rows)
    if hasattr(columns, "to_dict") and hasattr(columns, "columns"):
        split = getattr(columns, "to_numpy", None)  # pandas and polars both have it
        return list(columns.columns), split().tolist() if split else list(columns.to_dict().values())
    if isinstance(columns, Mapping):
        return list(columns), list(zip(*columns.values()))
    rows = list(columns)
    if not rows or not all(isinstance(row, Mapping) for row in rows):
        raise Unusable("a table is columns and rows, a list of dictionaries, or a data frame")
    names = list(dict.fromkeys(name for row in rows for name in row))
    return names, [[row.get(name) for name in names] for row in rows]


def _cell(value: Any) -> Any:
    if value is None or isinstance(value, bool):
        return value
    number, _ = encode.as_number(value)
    if number is not None:
        return number
    text = encode.clean(value)
    return text if len(text) <= MOST_CELL_CHARS else text[: MOST_CELL_CHARS - 1] + "…"
