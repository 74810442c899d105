"""What all benchmarks share: statistics, tables for people and for machines, and the command line."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path

import numpy

import lab.setup
from lab.place import LabError

Row = dict[str, "str | float | None"]


@dataclass(frozen=True)
class Table:
    """Rows with the same keys; the first key's value names the row, a key's ending is its unit."""

    title: str
    rows: list[Row]

    def titled(self, titles: Mapping[str, str]) -> Table:
        """The same with other heads, where `titles` has one."""
        return Table(self.title, [{titles.get(key, key): value for key, value in row.items()} for row in self.rows])

    def markdown(self) -> str:
        """The table as it stands in docs/benchmarks.md; numbers with three significant digits."""
        heads = list(self.rows[0])
        lines = [heads, ["---"] * len(heads), *([_cell(row[head]) for head in heads] for row in self.rows)]
        return "\n".join([f"{self.title}", "", *(f"| {' | '.join(line)} |" for line in lines)])


def told(row: Row) -> Row:
    """The same; it is told on the way, as a whole run takes an hour."""
    figures = {key: round(value, 2) if isinstance(value, float) else value for key, value in row.items()}
    progress("    " + ", ".join(f"{key} {value}" for key, value in figures.items() if key))
    return row


def median(values: Sequence[float]) -> float:
    """The middle value."""
    return statistics.median(values)


def mean(values: Sequence[float]) -> float:
    """The sum shared out."""
    return statistics.fmean(values)


def p99(values: Sequence[float]) -> float:
    """The value that 99 of 100 do not exceed."""
    return float(numpy.percentile(values, 99))


def p999(values: Sequence[float]) -> float:
    """The value that 999 of 1000 do not exceed."""
    return float(numpy.percentile(values, 99.9))


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


def write_section(document: Path, name: str, text: str) -> None:
    """Put a text between the markers of a section, whole or not at all. Raises LabError when they are not there."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    before, began, rest = document.read_text().partition(begin)
    _, ended, after = rest.partition(end)
    if not began or not ended:
        raise LabError(f"{document} has no lines `{begin}` and `{end}` to write between: put them where it shall stand")
    draft = document.with_name(f".{document.name}.tmp")
    draft.write_text(f"{before}{begin}\n{text}\n{end}{after}")
    draft.rename(document)


def tell(name: str, tables: Sequence[Table], load_before: float, file: Path | None, document: Path | None) -> None:
    """Print a part's tables, append its figures to a file as a line, and write it into its section of a document."""
    facts = {**machine(), "load_before": load_before, "load_after": load()}
    said = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in facts.items())
    text = "\n\n".join([*(table.markdown() for table in tables), f"Measured: {said}."])
    print(f"{text}\n", flush=True)
    if file:
        with file.open("a") as lines:
            one = {"benchmark": name, "machine": facts, "tables": [asdict(table) for table in tables]}
            lines.write(json.dumps(one) + "\n")
    if document:
        write_section(document, f"bench {name}", text)
        progress(f"written into {document.name}")


def play(name: str, about: str, measure: Callable[[], list[Table]]) -> int:
    """Run a benchmark as a command, which prints its tables. Returns the exit code."""
    parser = argparse.ArgumentParser(prog=f"./run bench {name}", description=about)
    parser.add_argument("--json", action="store_true", help="print the figures for a program")
    given = parser.parse_args()
    lab.setup.end_orderly_on_sigterm()
    before = load()
    try:
        tables = measure()
    except LabError as problem:
        print(f"./run bench {name}: {problem}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"\n./run bench {name}: interrupted", file=sys.stderr)
        return 130
    facts = {**machine(), "load_before": before, "load_after": load()}
    if given.json:
        print(
            json.dumps({"benchmark": name, "machine": facts, "tables": [asdict(table) for table in tables]}, indent=1)
        )
    else:
        print("\n\n".join(table.markdown() for table in tables))
        print("\n" + ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in facts.items()))
    return 0


def machine() -> dict[str, str | float]:
    """What may be told of the machine: neither its name nor a path."""
    return {
        "date": datetime.now(timezone.utc).date().isoformat(),
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "linux": platform.release().partition("-")[0],
    }


def load() -> float:
    """Processes that wanted to run in the last minute: how much of the machine others took."""
    return round(os.getloadavg()[0], 1)


def _cell(value: str | float | None) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    return f"{value:,.0f}" if value == int(value) or abs(value) >= 1000 else f"{value:.3g}"
