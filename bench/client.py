"""What tracker costs a job, side by side with trackio, tensorboardX, wandb offline and MLflow."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

import lab.setup
from bench import _peers
from bench._client_tables import bars, tables, told
from bench._figures import load, machine, progress, write_section
from bench._rounds import FULL, QUICK, Measured, Rounds
from lab.place import CHECKOUT, LabError

DOCUMENT = CHECKOUT / "docs" / "benchmarks.md"
SECTION = "bench client"


def main(argv: list[str]) -> int:
    """Measure, print, and bring the document up to date. Returns the exit code."""
    given = _arguments(argv)
    lab.setup.end_orderly_on_sigterm()
    try:
        return _bench(given)
    except LabError as problem:
        print(f"./run bench client: {problem}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\n./run bench client: interrupted", file=sys.stderr)
        return 130


def _arguments(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="./run bench client", description=__doc__, allow_abbrev=False)
    parser.add_argument("--quick", action="store_true", help="few rounds: a minute instead of six")
    parser.add_argument(
        "--peers",
        metavar="NAMES",
        type=_names,
        default=list(_peers.PEERS),
        help=f"whom to measure beside, with commas between: {', '.join(_peers.PEERS)}; or none",
    )
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the figures of every round for a program")
    parser.add_argument("--docs", metavar="FILE", type=Path, help="write the tables into this document's section")
    return parser.parse_args(argv)


def _names(text: str) -> list[str]:
    names = [] if text == "none" else text.split(",")
    unknown = [name for name in names if name not in _peers.PEERS]
    if unknown:
        raise argparse.ArgumentTypeError(f"{unknown[0]!r} is none of {', '.join(_peers.PEERS)}, none")
    return names


def _bench(given: argparse.Namespace) -> int:
    names, python = given.peers, None
    if names:
        try:
            python = _peers.peers_python()
        except LabError as problem:
            progress(f"without the other trackers, ours alone: {problem}")
            names = []
    facts: dict[str, str | float] = {**machine(), "load_before": load()}
    found, titles = _measure(names, python, given.quick)
    facts["load_after"] = load()
    made, reached = tables(found, titles), bars(found)
    text = "\n\n".join([table.markdown() for table in (*made, reached)] + [told(found, facts, _versions(names))])
    print(text)
    if given.json:
        figures = {"benchmark": "client", "machine": facts, "versions": _versions(names), "rounds": asdict(found)}
        printed = {"tables": [asdict(table) for table in made], "bars": asdict(reached)}
        given.json.write_text(json.dumps({**figures, **printed}, indent=1) + "\n")
    whole = names == list(_peers.PEERS) and not given.quick
    document = given.docs or (DOCUMENT if whole else None)
    if document:
        write_section(document, SECTION, text)
        progress(f"written into {document.name}")
    else:
        progress("docs/benchmarks.md stays as it is: only a whole run is written there")
    return 0


def _measure(names: list[str], python: Path | None, quick: bool) -> tuple[Measured, dict[str, str]]:
    """Everything that was measured, and the title of each tracker."""
    # On a disk, which /tmp need not be.
    with tempfile.TemporaryDirectory(prefix="tracker-client-", dir="/var/tmp") as name, ExitStack() as stack:
        place = Path(name)
        others = stack.enter_context(_peers.peers(names, python, place)) if python and names else []
        trackers = [*_peers.OURS, *others]
        found = Rounds(trackers, place, QUICK if quick else FULL).measure()
        return found, {tracker.name: tracker.title for tracker in trackers}


def _versions(names: list[str]) -> dict[str, str]:
    packages = {name.partition("-")[0] for name in names} | ({"uvloop"} if "mlflow" in names else set())
    return {name: version for name, version in _peers.versions().items() if name in packages}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
