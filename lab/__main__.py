"""`python -m lab`: what `./run` calls once the set-up is done."""

from __future__ import annotations

import argparse
import json
import shlex
import sys

from lab.cluster import Cluster
from lab.place import LabError


def cluster(words: argparse.Namespace) -> int:
    """`./run cluster up|down|status|env`."""
    lab = Cluster(words.name, words.nodes, words.gpus, words.slurm)
    if words.action == "up":
        lab.up()
        print('up; `eval "$(./run cluster env)"` brings its commands into this shell')
    elif words.action == "down":
        lab.down()
    elif words.action == "env":
        for name, value in lab.env().items():
            print(f"export {name}={shlex.quote(value)}")
    else:
        states = lab.status()
        if words.json:
            print(json.dumps({state.name: state.pid for state in states}))
        else:
            for state in states:
                print(f"{state.name:<16} {f'runs, pid {state.pid}' if state.pid else 'down'}")
        return 0 if all(state.pid for state in states) else 3
    return 0


def main() -> int:
    """Read the command line and do what it says."""
    parser = argparse.ArgumentParser(prog="./run", allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("cluster", allow_abbrev=False)
    one.add_argument("action", choices=("up", "down", "status", "env"))
    one.add_argument("--nodes", type=int)
    one.add_argument("--gpus", type=int)
    one.add_argument("--slurm")
    one.add_argument("--name", default="dev")
    one.add_argument("--json", action="store_true")
    one.set_defaults(act=cluster)
    words = parser.parse_args()
    try:
        return int(words.act(words))
    except LabError as problem:
        print(f"./run {words.command}: {problem}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
