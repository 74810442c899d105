"""What all benchmarks share: statistics, tables for people and for machines, and the command line."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone

import numpy

import lab.setup
from lab.place import LabError

Row = dict[str, "str | float | None"]


@dataclass(frozen=True)
class Table:
    """Rows with the same keys; the first key's value names the row, a key's ending is its unit."""

    title: str
    rows: list[Row]

    def markdown(self) -> str:
        """The table as it stands in docs/benchmarks.md; numbers with three significant digits."""
        heads = list(self.rows[0])
        lines = [heads, ["---"] * len(heads), *([_cell(row[head]) for head in heads] for row in self.rows)]
        return "\n".join([f"{self.title}", "", *(f"| {' | '.join(line)} |" for line in lines)])


def median(values: Sequence[float]) -> float:
    """The middle value."""
    return statistics.median(values)


def p99(values: Sequence[float]) -> float:
    """The value that 99 of 100 do not exceed."""
    return float(numpy.percentile(values, 99))


def ratio(values: Sequence[float], beside: Sequence[float]) -> float:
    """The median of the ratios of each round: what slows a whole round down falls out of it."""
    return median([one / other for one, other in zip(values, beside, strict=True)])


def measured(name: str, values: Sequence[float], unit: str, **more: str | float | None) -> Row:
    """A row of how many values there are, their median and their range."""
    return {
        "": name,
        "n": len(values),
        f"median {unit}": median(values),
        f"min {unit}": min(values),
        f"max {unit}": max(values),
        **more,
    }


def progress(message: str) -> None:
    """Tell on stderr how far the benchmark is; stdout is for figures."""
    print(message, file=sys.stderr, flush=True)


def play(name: str, about: str, measure: Callable[[], list[Table]]) -> int:
    """Run a benchmark as a command, which prints its tables. Returns the exit code."""
    parser = argparse.ArgumentParser(prog=f"./run bench {name}", description=about)
    parser.add_argument("--json", action="store_true", help="print the figures for a program")
    given = parser.parse_args()
    lab.setup.end_orderly_on_sigterm()
    before = _load()
    try:
        tables = measure()
    except LabError as problem:
        print(f"./run bench {name}: {problem}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"\n./run bench {name}: interrupted", file=sys.stderr)
        return 130
    facts = {**_machine(), "load_before": before, "load_after": _load()}
    if given.json:
        print(
            json.dumps({"benchmark": name, "machine": facts, "tables": [asdict(table) for table in tables]}, indent=1)
        )
    else:
        print("\n\n".join(table.markdown() for table in tables))
        print("\n" + ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in facts.items()))
    return 0


def _machine() -> dict[str, str | float]:
    return {
        "date": datetime.now(timezone.utc).date().isoformat(),
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "linux": platform.release().partition("-")[0],
    }


def _load() -> float:
    """Processes that wanted to run in the last minute: how much of the machine others took."""
    return round(os.getloadavg()[0], 1)


def _cell(value: str | float | None) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    return f"{value:,.0f}" if value == int(value) or abs(value) >= 1000 else f"{value:.3g}"
