"""`tracker log`: what a shell script, or a program in any other language, logs with."""

from __future__ import annotations

import argparse
import errno
import os
import re
import sys
import time

from tracker.client import encode, redact, room
from tracker.client.encode import Unusable
from tracker.client.identity import whole_number, writer_header
from tracker.client.spool import SpoolFile, places
from tracker.client.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any, Mapping

EXAMPLES = """examples:
  tracker log loss=0.31 acc=0.9 --step 10
  tracker log loss=0.31                     (the steps count on)
  tracker log --params lr=0.01 optimizer=sgd
  tracker log --tags stage=draft
"""


def main(argv: list[str]) -> int:
    """Log what the command line says. Returns the exit code: 0, 1 if nothing can be written, 2 for bad input."""
    given = _parser().parse_args(argv)
    try:
        if os.environ.get("TRACKER_MODE") != "off":
            _append(os.environ, _message(given))
        return 0
    except Unusable as problem:
        print(f"tracker log: {problem}", file=sys.stderr)
        return 2
    except OSError as problem:
        print(
            f"tracker log: nothing was logged: {problem.filename or 'the spool'}: {problem.strerror}", file=sys.stderr
        )
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tracker log",
        description="Log numbers, parameters or tags of the run that this shell belongs to.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("pairs", nargs="+", metavar="NAME=VALUE", help="what to log")
    parser.add_argument("--step", type=int, help="the step of these numbers; without it the steps count on")
    kinds = parser.add_mutually_exclusive_group()
    kinds.add_argument("--params", action="store_true", help="the pairs are parameters of the run")
    kinds.add_argument("--tags", action="store_true", help="the pairs are tags of the run")
    return parser


def _message(given: argparse.Namespace) -> dict[str, Any]:
    pairs = dict(_pair(one) for one in given.pairs)
    if given.params or given.tags:
        if given.step is not None:
            raise Unusable("--step belongs to numbers, not to parameters and tags")
        kind = "params" if given.params else "tags"
        return {"event": kind, kind: _without_secrets(pairs), "time": time.time()}
    step = {} if given.step is None else {"step": given.step}
    return {"metrics": {name: _number(name, text) for name, text in pairs.items()}, **step, "time": time.time()}


def _without_secrets(pairs: dict[str, str]) -> dict[str, Any]:
    told, hidden = redact.params(pairs)
    for name in hidden:
        print(f"tracker log: {name} looks like a secret and is hidden", file=sys.stderr)
    return told


def _pair(text: str) -> tuple[str, str]:
    name, mark, value = text.partition("=")
    if not name or not mark:
        raise Unusable(f"{text!r} is not NAME=VALUE")
    return name, value


def _number(name: str, text: str) -> encode.Number:
    try:
        number = encode.as_number(int(text) if re.match(r"[+-]?[0-9]{1,19}\Z", text) else float(text))[0]
    except ValueError:
        number = None
    if number is None:
        raise Unusable(f"{name}={text}: {text!r} is no number (texts are logged with --params or --tags)")
    return number


def _append(env: Mapping[str, str], message: Mapping[str, Any]) -> None:
    failed: OSError | None = None
    for place in places(env):
        if not place.joined:
            break  # outside Slurm each call would begin a run of its own
        try:
            return _append_in(place.folder, place.run_id, env, message)
        except OSError as problem:
            failed = problem
    raise failed or Unusable(
        "there is no run here: call it in a Slurm job, or set TRACKER_SPOOL to the folder of a run"
    )


def _append_in(folder: str, run_id: str | None, env: Mapping[str, str], message: Mapping[str, Any]) -> None:
    # All calls of one shell share a file, so that a loop makes one file and its steps count on. Tasks of a step may be
    # children of one process.
    node = re.sub(r"[^A-Za-z0-9_-]", "-", env.get("SLURMD_NODENAME") or os.uname().nodename)[:30]
    rank, attempt = whole_number(env.get("SLURM_PROCID")) or 0, whole_number(env.get("SLURM_RESTART_COUNT")) or 0
    file = SpoolFile(folder, f"shell-{node}-{rank}-{attempt}-{os.getppid()}"[:64], shared=True)
    limit_bytes = room.limit_bytes(env)
    try:
        if room.used(folder)[0] >= limit_bytes:
            limit = f"it is above the limit of {room.in_words(limit_bytes)} (TRACKER_SPOOL_LIMIT)"
            raise OSError(errno.EDQUOT, limit, folder)
        if file.size_bytes() == 0:
            header = {**writer_header(env, time.time(), run_id), "pid": os.getppid()}
            for of_this_call in ("process", "argv", "cwd", "python"):
                header.pop(of_this_call, None)
            file.append(encode.line_of(header))
        if not file.append(encode.line_of(message)):
            raise OSError(errno.ENOSPC, "the disk is full", folder)
    finally:
        file.close()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
