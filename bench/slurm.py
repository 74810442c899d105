"""What tracker costs a Slurm, and what both withstand: a part for each (bench/_slurm_NAME.py)."""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path

import lab.setup
from bench._asked import Asked
from bench._figures import load, progress, tell
from lab.cluster import Cluster
from lab.place import LabError

PARTS = ("hooks", "array", "faults", "queue", "browsers", "forged")


def main(argv: list[str]) -> int:
    """Measure, print, and bring the document up to date where asked. Returns the exit code."""
    given = _arguments(argv)
    lab.setup.end_orderly_on_sigterm()
    asked = Asked(Cluster("bench", nodes=2, gpus=2, say=progress), quick=given.quick)
    try:
        for name in given.parts or PARTS:
            progress(f"{name}:")
            before = load()
            tables = importlib.import_module(f"bench._slurm_{name}").measure(asked)
            tell(f"slurm {name}", tables, before, given.json, given.docs)
    except LabError as problem:
        print(f"./run bench slurm: {problem}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\n./run bench slurm: interrupted", file=sys.stderr)
        return 130
    finally:
        asked.close()
    return 0


def _arguments(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="./run bench slurm", description=__doc__, allow_abbrev=False)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)}; all if none is named")
    parser.add_argument("--quick", action="store_true", help="few rounds and small sizes")
    parser.add_argument("--json", metavar="FILE", type=Path, help="append the figures for a program, a line a part")
    parser.add_argument("--docs", metavar="FILE", type=Path, help="write the tables into this document's sections")
    given = parser.parse_args(argv)
    unknown = [name for name in given.parts if name not in PARTS]
    if unknown:
        parser.error(f"there is no part {unknown[0]!r}; there are: {', '.join(PARTS)}")
    return given


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
