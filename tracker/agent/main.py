"""`tracker agent`: the command."""

from __future__ import annotations

import argparse
import os
import re
from typing import Mapping

from tracker.agent import options
from tracker.agent.agent import Agent, Who, say
from tracker.agent.backlog import DEFAULT_LIMIT_BYTES
from tracker.agent.hardware.gres import gpu_files
from tracker.agent.shipping import ship_for_ever, ship_once, stop_on_signals
from tracker.client.spool import NODE_SPOOL, home
from tracker.errors import SetupProblem, TrackerError

EXAMPLES = """examples:
  tracker agent --url https://tracker.example.org    on a node, as root: ships /var/spool/tracker
  tracker agent --shared                             on a login node, as a user: ships the spool in your home
  tracker agent --once --spool ~/copied/spool        ships what is there; ends with 0 if the server has all of it

The token comes from TRACKER_TOKEN, or from a file named by TRACKER_TOKEN_FILE.
"""
_SLURM_FOLDERS = ("/etc/slurm", "/run/slurm/conf")


def main(argv: list[str]) -> int:
    """Run the agent. Returns the exit code: 0 at a clean end, 1 if something is left or must be put right."""
    given = _parser().parse_args(argv)
    try:
        env = os.environ
        spool = given.spool or (NODE_SPOOL if os.geteuid() == 0 and not given.shared else f"{home(env)}/spool")
        if given.once and not os.path.isdir(spool):
            raise SetupProblem(f"There is no spool {spool}: name it with --spool.")
        who = Who(given.node or node_name(env), given.cluster or _cluster(env), given.shared)
        server = options.server(given, env)
        stop = stop_on_signals(server)
        every_s = 0 if given.once else given.sample_every
        files = gpu_files(slurm_folders(env), who.node)
        limit_bytes = given.spool_limit
        # Where MUNGE vouches for the agent it does so for jobs; and only root could give a token to another user.
        gives_tokens = os.geteuid() == 0 and not given.shared and not server.is_by_munge
        agent = Agent(
            spool, who, server, sample_every_s=every_s, gpu_files=files, limit_bytes=limit_bytes,
            gives_tokens=gives_tokens,
        )  # fmt: skip
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
    about = "Ship a spool to the server: what hooks and jobs wrote, exactly once, for as long as it takes."
    parser = options.parser("tracker agent", about, EXAMPLES)
    parser.add_argument(
        "--spool", metavar="DIR", help="the spool; as root /var/spool/tracker, else that of TRACKER_HOME"
    )
    parser.add_argument("--node", metavar="NAME", help="Slurm's name of this node; else the host's name")
    parser.add_argument("--cluster", metavar="NAME", help="Slurm's cluster; else the ClusterName in slurm.conf")
    parser.add_argument(
        "--sample-every",
        metavar="SECONDS",
        type=options.seconds_or_0,
        default=15.0,
        help="pause between samples of what jobs use of the hardware (15); 0: none",
    )
    parser.add_argument(
        "--spool-limit",
        metavar="SIZE",
        type=options.size,
        default=DEFAULT_LIMIT_BYTES,
        help="how much of one job's spool is shipped, such as 512MiB (2GiB); the run's page tells of the rest",
    )
    parser.add_argument("--shared", action="store_true", help="the spool lies in a home that all nodes share")
    return parser


def node_name(env: Mapping[str, str]) -> str:
    """Return Slurm's name of this machine, as far as it can be told."""
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


def slurm_folders(env: Mapping[str, str]) -> tuple[str, ...]:
    """Return where Slurm's configuration may lie on this machine."""
    return (os.path.dirname(env["SLURM_CONF"]),) if env.get("SLURM_CONF") else _SLURM_FOLDERS
