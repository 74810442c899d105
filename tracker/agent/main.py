"""`tracker agent`: the command."""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import signal
import threading
import time
from typing import Any, Callable, Mapping

from tracker.agent.agent import Agent, Who, say
from tracker.agent.backlog import DEFAULT_LIMIT_BYTES
from tracker.agent.hardware.gres import gpus_by_file
from tracker.agent.server import Server, Unreachable, token_source
from tracker.agent.stop import Stop
from tracker.client.room import size_bytes
from tracker.client.spool import NODE_SPOOL, home
from tracker.errors import SetupProblem, TrackerError

EXAMPLES = """examples:
  tracker agent --url https://tracker.example.org    on a node, as root: ships /var/spool/tracker
  tracker agent --shared                             on a login node, as a user: ships the spool in your home
  tracker agent --once --spool ~/copied/spool        ships what is there; ends with 0 if the server has all of it

The token comes from TRACKER_TOKEN, or from a file named by TRACKER_TOKEN_FILE.
"""
_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 30.0
_GRACE_S = 3.0
_ONCE_ATTEMPTS = 4
_SLURM_FOLDERS = ("/etc/slurm", "/run/slurm/conf")


def main(argv: list[str]) -> int:
    """Run the agent. Returns the exit code: 0 at a clean end, 1 if something is left or must be put right."""
    given = _parser().parse_args(argv)
    try:
        env = os.environ
        spool = given.spool or (NODE_SPOOL if os.geteuid() == 0 and not given.shared else f"{home(env)}/spool")
        if given.once and not os.path.isdir(spool):
            raise SetupProblem(f"There is no spool {spool}: name it with --spool.")
        who = Who(given.node or _node(env), given.cluster or _cluster(env), given.shared)
        server = Server(given.url or url(env), token(env))
        stop = stop_on_signals(server)
        every_s = 0 if given.once else given.sample_every
        by_file = gpus_by_file(_slurm_folders(env))
        limit_bytes = given.spool_limit
        agent = Agent(spool, who, server, sample_every_s=every_s, gpus_by_file=by_file, limit_bytes=limit_bytes)
        say(f"ships {spool} to {server.url} as {who.node}" + (f" of {who.cluster}" if who.cluster else ""))
        agent.look_around()
        try:
            return ship_once(agent) if given.once else ship_for_ever(agent, stop, given.interval)
        finally:
            agent.close()
    except TrackerError as problem:
        say(str(problem))
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tracker agent",
        description="Ship a spool to the server: what hooks and jobs wrote, exactly once, for as long as it takes.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--spool", metavar="DIR", help="the spool; as root /var/spool/tracker, else that of TRACKER_HOME"
    )
    parser.add_argument("--node", metavar="NAME", help="Slurm's name of this node; else the host's name")
    parser.add_argument("--cluster", metavar="NAME", help="Slurm's cluster; else the ClusterName in slurm.conf")
    parser.add_argument("--url", metavar="URL", help="the server; else TRACKER_URL, else that of `tracker up`")
    parser.add_argument("--interval", metavar="SECONDS", type=_seconds, default=0.5, help="pause between looks (0.5)")
    parser.add_argument(
        "--sample-every",
        metavar="SECONDS",
        type=_seconds_or_0,
        default=15.0,
        help="pause between samples of what jobs use of the hardware (15); 0: none",
    )
    parser.add_argument(
        "--spool-limit",
        metavar="SIZE",
        type=_size,
        default=DEFAULT_LIMIT_BYTES,
        help="how much of one job's spool is shipped, such as 512MB (2GB); the run's page tells of the rest",
    )
    parser.add_argument("--shared", action="store_true", help="the spool lies in a home that all nodes share")
    parser.add_argument("--once", action="store_true", help="ship what is there and end")
    return parser


def ship_for_ever(agent: Agent, stop: Stop, interval_s: float, tell: Callable[[], None] = lambda: None) -> int:
    """Ship until asked to stop. `tell` is called after each look."""
    pause_s, told = 0.0, ""
    while not stop.is_asked:
        try:
            more = agent.round()
            if told:
                say("the server answers again")
            pause_s, told = 0.0, ""
            tell()
            stop.wait(0 if more else interval_s)
        except Unreachable as problem:
            if str(problem) != told and not stop.is_asked:
                told = str(problem)
                say(f"will try again, nothing is lost: {told}")
            pause_s = min(_LONGEST_PAUSE_S, pause_s * 2 or _PAUSE_S)
            stop.wait(pause_s * random.uniform(0.5, 1.0))  # a thousand agents must not come back at the same moment
    return 0


def ship_once(agent: Agent, tell: Callable[[], None] = lambda: None) -> int:
    """Ship what is there. Returns 0 if the server has all of it. `tell` is called after each request."""
    for attempt in range(_ONCE_ATTEMPTS):
        try:
            more = True
            while more:
                more = agent.round()
                tell()
            if agent.is_drained():
                return 0
            say("not everything was shipped: the lines above say why")
            return 1
        except Unreachable as problem:
            say(f"not everything was shipped: {problem}")
            if attempt + 1 < _ONCE_ATTEMPTS:
                time.sleep(_PAUSE_S * 2**attempt)
    return 1


def stop_on_signals(server: Server) -> Stop:
    """Return what a signal to end asks to stop."""
    stop = Stop()

    def end(_signal: int, _frame: Any) -> None:
        if not stop.is_asked:
            stop.ask()
            # The request under way may end, a hanging server may not hold us.
            breaker = threading.Timer(_GRACE_S, server.abort)
            breaker.daemon = True
            breaker.start()

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    return stop


def url(env: Mapping[str, str]) -> str:
    """Return the server's address. Raises SetupProblem when none is known."""
    if env.get("TRACKER_URL"):
        return env["TRACKER_URL"]
    try:
        with open(f"{home(env)}/server.json", encoding="utf-8") as file:
            return str(json.load(file)["url"])
    except (OSError, ValueError, KeyError, TypeError):
        raise SetupProblem("No server is known: give --url, set TRACKER_URL, or start `tracker up`.") from None


def token(env: Mapping[str, str]) -> Any:
    """Return what gives the key."""
    beside = f"{home(env)}/keys/node.token"
    named = env.get("TRACKER_TOKEN_FILE") or (beside if os.path.exists(beside) else None)
    return token_source(env.get("TRACKER_TOKEN"), named)


def _node(env: Mapping[str, str]) -> str:
    return env.get("SLURMD_NODENAME") or os.uname().nodename.partition(".")[0]


def _cluster(env: Mapping[str, str]) -> str | None:
    if env.get("SLURM_CLUSTER_NAME"):
        return env["SLURM_CLUSTER_NAME"]
    named = [env["SLURM_CONF"]] if env.get("SLURM_CONF") else [f"{folder}/slurm.conf" for folder in _SLURM_FOLDERS]
    for place in named:
        try:
            with open(place, encoding="utf-8", errors="replace") as file:
                found = re.search(r"^\s*ClusterName\s*=\s*([A-Za-z0-9_-]+)", file.read(), re.IGNORECASE | re.MULTILINE)
        except OSError:
            continue
        if found:
            return found.group(1)
    return None


def _slurm_folders(env: Mapping[str, str]) -> tuple[str, ...]:
    return (os.path.dirname(env["SLURM_CONF"]),) if env.get("SLURM_CONF") else _SLURM_FOLDERS


def _seconds_or_0(text: str) -> float:
    return 0.0 if text == "0" else _seconds(text)


def _seconds(text: str) -> float:
    seconds = float(text) if re.match(r"[0-9]+(\.[0-9]*)?\Z", text) else 0.0
    if not 0.01 <= seconds <= 3600:
        raise argparse.ArgumentTypeError(f"{text} is not between 0.01 and 3600 seconds")
    return seconds


def _size(text: str) -> int:
    size = size_bytes(text)
    if not size:
        raise argparse.ArgumentTypeError(f"{text} is no size such as 512MB")
    return size
