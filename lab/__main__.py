"""`./run`: reads the command line, does the set-up that the command needs, then does what it says."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from lab import commands, setup
from lab.place import LabError
from lab.release import VERSIONS

HELP = """\
usage: ./run COMMAND [options]

  demo      a throwaway Slurm with tracker beside it, sample jobs, and a link to the page
  test      the whole test suite, on real Slurm, real PostgreSQL and a real browser
  check     lint, types, architecture
  bench     measure something; without a name: list what there is
  cluster   a throwaway Slurm to work on: up, down, status, env; record its answers
  setup     make .venv with everything in it
  help      this page; `./run COMMAND --help` tells a command's options

Each does its own set-up; a second start takes seconds.

examples:
  ./run demo                         look at it
  ./run demo --once                  run the samples, compare with Slurm's accounting, tear down
  ./run test tests/lab -k port       some tests; what follows `test` goes to pytest
  ./run cluster up --nodes 4         then: eval "$(./run cluster env)"; sbatch …
  ./run cluster down
"""


COMMANDS = ("demo", "test", "check", "bench", "cluster", "setup", "help")


class Parser(argparse.ArgumentParser):
    """Tells a mistake in one sentence, with the words that would have been right."""

    def error(self, message: str) -> NoReturn:
        """Print the sentence and end with 2."""
        self.exit(2, f"{self.prog}: {message}; `{self.prog} --help` tells more\n")


def parser() -> Parser:
    """The command line of `./run`, but for `help`, and `test`, whose words are pytest's."""
    top = Parser(prog="./run", add_help=False, allow_abbrev=False)
    found = top.add_subparsers(dest="command", required=True, parser_class=Parser)

    demo = found.add_parser("demo", allow_abbrev=False, help="a throwaway Slurm with tracker and sample jobs")
    demo.add_argument("--once", action="store_true", help="wait for the jobs' ends, check them, tear down")
    demo.add_argument("--port", type=_port, help="the page's port")
    where = demo.add_mutually_exclusive_group()
    where.add_argument("--here", action="store_true", help="use the Slurm that this machine belongs to; needs no root")
    where.add_argument("--local", action="store_true", help="no Slurm: run the samples as local processes")
    demo.set_defaults(act=commands.demo)

    check = found.add_parser("check", allow_abbrev=False)
    check.set_defaults(act=commands.check)

    bench = found.add_parser("bench", allow_abbrev=False)
    bench.add_argument("name", nargs="?", help="the part of bench/NAME.py")
    bench.add_argument("arguments", nargs=argparse.REMAINDER, help="go to the benchmark")
    bench.set_defaults(act=commands.bench)

    cluster = found.add_parser("cluster", allow_abbrev=False)
    cluster.add_argument("action", choices=("up", "down", "status", "env", "record"))
    cluster.add_argument("--nodes", type=int, help="number of nodes (2 at first, then what it was)")
    cluster.add_argument("--gpus", type=int, help="number of GPUs of each node (2 at first)")
    cluster.add_argument("--slurm", metavar="VERSION", help=f"Slurm's version: {', '.join(VERSIONS)}")
    cluster.add_argument("--name", default="dev", help="the lab (dev)")
    cluster.add_argument("--json", action="store_true", help="status for programs")
    cluster.set_defaults(act=commands.cluster)

    once = found.add_parser("setup", allow_abbrev=False)
    once.add_argument("--upgrade", action="store_true", help="pin the newest libraries in constraints.txt first")
    once.set_defaults(act=commands.setup)

    return top


def _port(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"a port is a number from 1 to 65535, not {text!r}")
    return int(text)


def main(argv: Sequence[str]) -> int:
    """Do what the command line says; gives the exit code."""
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # progress is progress in a file, too
    top = parser()
    if not argv or argv[0] in ("help", "-h", "--help"):
        print(HELP, end="")
        return 0 if argv else 2
    if argv[:1] == ["test"]:
        words = argparse.Namespace(command="test", act=commands.test, rest=argv[1:])
    elif argv and argv[0] not in COMMANDS:
        print(f"./run: there is no command {argv[0]!r}; there are: {', '.join(COMMANDS)}", file=sys.stderr)
        return 2
    else:
        words = top.parse_args(argv)
    try:
        return int(words.act(words))
    except LabError as problem:
        print(f"./run {words.command}: {problem}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # the reader of a pipe went away, which is no error of ours
        return 0
    except OSError as problem:  # a full disk, a file of somebody else's
        print(f"./run {words.command}: {problem.strerror}: {problem.filename or ''}".rstrip(": "), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"\n./run {words.command}: interrupted; start it again to go on", file=sys.stderr)
        return 130


if __name__ == "__main__":
    setup.end_orderly_on_sigterm()
    sys.exit(main(sys.argv[1:]))
