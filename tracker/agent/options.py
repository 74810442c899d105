"""The options that the commands of agents share, and the server that they mean."""

from __future__ import annotations

import argparse
import json
import os
import re
from typing import Mapping

from tracker.agent.server import Server
from tracker.client import munge
from tracker.client.keys import Key
from tracker.client.room import size_bytes
from tracker.client.spool import home
from tracker.errors import SetupProblem


def parser(command: str, about: str, examples: str) -> argparse.ArgumentParser:
    """Return a parser of a command's options with those that all have."""
    made = argparse.ArgumentParser(
        prog=command, description=about, epilog=examples, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--url", metavar="URL", help="the server; else TRACKER_URL, else that of `tracker up`")
    made.add_argument("--once", action="store_true", help="ship what is there and end")
    made.add_argument("--interval", metavar="SECONDS", type=seconds, default=0.5, help="pause between looks (0.5)")
    return made


def server(given: argparse.Namespace, env: Mapping[str, str]) -> Server:
    """Return the server that is meant. Raises SetupProblem when none is known, BadInput for what is no address."""
    beside = f"{home(env)}/keys/node.token"
    token, named = (
        env.get("TRACKER_TOKEN"),
        env.get("TRACKER_TOKEN_FILE") or (beside if os.path.exists(beside) else None),
    )
    url = given.url or _url(env)
    if not (token or named) and munge.is_there(env):
        return Server(url, munge.MungeLogin(url, env, agent=True))
    return Server(url, Key(token, None if token else named))


def _url(env: Mapping[str, str]) -> str:
    if env.get("TRACKER_URL"):
        return env["TRACKER_URL"]
    try:
        with open(f"{home(env)}/server.json", encoding="utf-8") as file:
            return str(json.load(file)["url"])
    except (OSError, ValueError, KeyError, TypeError):
        raise SetupProblem("No server is known: give --url, set TRACKER_URL, or start `tracker up`.") from None


def seconds(text: str) -> float:
    """Read a number of seconds, for argparse."""
    read = float(text) if re.match(r"[0-9]+(\.[0-9]*)?\Z", text) else 0.0
    if not 0.01 <= read <= 3600:
        raise argparse.ArgumentTypeError(f"{text} is not between 0.01 and 3600 seconds")
    return read


def seconds_or_0(text: str) -> float:
    """Read a number of seconds or 0, for argparse."""
    return 0.0 if text == "0" else seconds(text)


def size(text: str) -> int:
    """Read a size such as 512MB, for argparse."""
    read = size_bytes(text)
    if not read:
        raise argparse.ArgumentTypeError(f"{text} is no size such as 512MB")
    return read
