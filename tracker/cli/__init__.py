"""The command `tracker`: the door to both wings.

Commands that run inside jobs and on nodes (`log`, `agent`, `sync`) need the standard library only, so they are
dispatched before click is imported.
"""

from __future__ import annotations

import importlib
import sys

JOB_COMMANDS = {"log": "tracker.client.shell", "agent": "tracker.agent.main", "sync": "tracker.agent.sync"}
"""Commands of the job wing and the module whose `main(argv)` runs them."""


def main() -> None:
    """Run the command line. Ends the process."""
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    if name in JOB_COMMANDS:
        sys.exit(importlib.import_module(JOB_COMMANDS[name]).main(sys.argv[2:]))
    try:
        from tracker.cli.commands import cli
    except ModuleNotFoundError as missing:
        sys.exit(f"`tracker {name}` needs {missing.name}: pip install 'slurm-tracker[server]'")
    cli(prog_name="tracker")
