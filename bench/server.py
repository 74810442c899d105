"""How quick the server is, on PostgreSQL and SQLite: a part for each thing it does (bench/_server_NAME.py)."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import lab.setup
from bench._figures import Table, load, progress, tell
from lab.place import CHECKOUT, LabError

DOCUMENT = CHECKOUT / "docs" / "benchmarks.md"
KINDS = ("postgresql", "sqlite")


@dataclass(frozen=True)
class Asked:
    """What a part should measure: on which databases, quickly or as a whole, and with which options of its own."""

    kinds: list[str]
    quick: bool
    minutes: float
    peers: bool
    sizes: Sequence[int] = ()


def parts() -> dict[str, str]:
    """The modules of the parts by their names. Each has `measure(asked: Asked) -> list[Table]`."""
    found = sorted(Path(__file__).parent.glob("_server_*.py"))
    return {path.stem.removeprefix("_server_"): f"bench.{path.stem}" for path in found}


def main(argv: list[str]) -> int:
    """Measure, print, and bring the document up to date where asked. Returns the exit code."""
    given = _arguments(argv)
    lab.setup.end_orderly_on_sigterm()
    asked = Asked(given.databases, given.quick, given.minutes, not given.no_peers, given.sizes)
    try:
        for name in given.parts or parts():
            _measure(name, asked, given.json, given.docs)
    except LabError as problem:
        print(f"./run bench server: {problem}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\n./run bench server: interrupted", file=sys.stderr)
        return 130
    return 0


def _arguments(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="./run bench server", description=__doc__, allow_abbrev=False)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(parts())}; all if none is named")
    parser.add_argument("--databases", type=_kinds, default=list(KINDS), help="postgresql,sqlite or one of them")
    parser.add_argument("--quick", action="store_true", help="few rounds and small sizes")
    parser.add_argument("--minutes", type=float, default=10, help="how long nodes and memory are watched (10)")
    parser.add_argument("--sizes", type=_sizes, default=(), help="runs to find pages of: 10000,100000")
    parser.add_argument("--no-peers", action="store_true", help="leave other trackers out")
    parser.add_argument("--json", metavar="FILE", type=Path, help="append the figures for a program, a line a part")
    parser.add_argument("--docs", action="store_true", help="write the tables into docs/benchmarks.md")
    given = parser.parse_args(argv)
    unknown = [name for name in given.parts if name not in parts()]
    if unknown:
        parser.error(f"there is no part {unknown[0]!r}; there are: {', '.join(parts())}")
    return given


def _kinds(text: str) -> list[str]:
    unknown = [name for name in text.split(",") if name not in KINDS]
    if unknown:
        raise argparse.ArgumentTypeError(f"{unknown[0]!r} is none of {', '.join(KINDS)}")
    return text.split(",")


def _sizes(text: str) -> list[int]:
    sizes = [int(one) for one in text.split(",") if one.isdigit() and int(one)]
    if len(sizes) < len(text.split(",")):
        raise argparse.ArgumentTypeError(f"{text!r} are no sizes such as 10000,100000")
    return sizes


def _measure(name: str, asked: Asked, file: Path | None, into_document: bool) -> None:
    progress(f"{name}:")
    before = load()
    tables: list[Table] = importlib.import_module(parts()[name]).measure(asked)
    tell(f"server {name}", tables, before, file, DOCUMENT if into_document else None)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
