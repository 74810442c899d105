"""`tracker sync`: ship a spool, or one job's folder, from wherever it was copied to. It changes and removes nothing."""

from __future__ import annotations

import argparse
import json
import os
import sys
from typing import Any, Iterator

from tracker.agent import options
from tracker.agent.agent import Agent, Copy, Who, say
from tracker.agent.hook_events import HookEvents
from tracker.agent.shipping import ship_for_ever, ship_once, stop_on_signals
from tracker.agent.spool import JobSpools
from tracker.errors import BadInput, TrackerError
from tracker.events import JobFolder

EXAMPLES = """examples:
  rsync -a cluster:.local/share/tracker/spool ./ && tracker sync spool --once
  tracker sync spool/jobs/dev.12 --once     one job's folder
  tracker sync /mnt/cluster/spool           goes on until Ctrl-C

What the server has already is not sent again. Ends with 0 if the server has everything.
"""


class _KeptEvents(HookEvents):
    """Events that stay where they are: which were sent is known until we end."""

    def __init__(self, root: str) -> None:
        super().__init__(root)
        self._sent: set[str] = set()

    def remove(self, name: str) -> None:
        """Remember that the server has it."""
        self._sent.add(name)
        self._listed.pop(name, None)

    def reject(self, name: str) -> None:
        """Remember that the server cannot use it."""
        self.remove(name)

    def _list(self) -> Iterator[tuple[float, str]]:
        return ((time_s, name) for time_s, name in super()._list() if name not in self._sent)


class _Copied(JobSpools):
    """A spool that was copied here."""

    def __init__(self, folder: str) -> None:
        super().__init__(folder)
        self._folder = folder

    def names(self) -> list[str]:
        """Return the names of the job folders. Raises BadInput when all of it is gone, which is not shipped then."""
        if not os.path.isdir(self._folder):
            raise BadInput(f"{self._folder} is not there any more; what it held may not be shipped.")
        return super().names()


class _OneFolder(_Copied):
    """One job's folder, wherever it is."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self._path, self._name = os.path.split(path)

    def names(self) -> list[str]:
        """Return its name."""
        return [name for name in super().names() if name == self._name]


def main(argv: list[str]) -> int:
    """Run the command. Returns the exit code: 0 if the server has everything, 1 if not, 2 for wrong arguments."""
    given = _parser().parse_args(argv)
    try:
        agent = _agent(os.path.realpath(given.folder), given)
        stop = stop_on_signals(agent.server)
        report = _Report(agent, given.json)
        code = ship_once(agent, report.tell) if given.once else ship_for_ever(agent, stop, given.interval, report.tell)
        report.end(code)
        return code
    except TrackerError as problem:
        say(str(problem))
        return 1


def _parser() -> argparse.ArgumentParser:
    about = "Ship what jobs wrote from a copied spool or job folder. Nothing in it is changed or removed."
    parser = options.parser("tracker sync", about, EXAMPLES)
    parser.add_argument("folder", metavar="DIR", help="a spool, or one job's folder such as dev.12")
    parser.add_argument("--user", metavar="NAME", help="whose jobs these are, if you have another name here")
    parser.add_argument("--json", action="store_true", help="tell the outcome as one JSON object, for programs")
    return parser


def _agent(folder: str, given: argparse.Namespace) -> Agent:
    spools = _spools(folder)
    server = options.server(given, os.environ)
    # Without a cluster it is asked for no output: the files of jobs are not here, others with their names may be.
    who = Who(os.uname().nodename.partition(".")[0], None, True)
    return Agent(folder, who, server, limit_bytes=sys.maxsize, copy=Copy(spools, _KeptEvents(folder), given.user))


def _spools(folder: str) -> JobSpools:
    """The job folders in there. Raises BadInput when it is neither a spool nor a job's folder."""
    if not os.path.isdir(folder):
        raise BadInput(f"There is no folder {folder}.")
    if os.path.isdir(os.path.join(folder, "jobs")) or os.path.isdir(os.path.join(folder, "events")):
        return _Copied(folder)
    if JobFolder.parse(os.path.basename(folder)):
        return _OneFolder(folder)
    raise BadInput(f"{folder} is no spool (a folder with `jobs` in it) and no job's folder (such as dev.12).")


class _Report:
    """Tells how far it is: people on the way, programs at the end."""

    def __init__(self, agent: Agent, as_json: bool) -> None:
        self._agent, self._as_json, self._told = agent, as_json, ""

    def tell(self) -> None:
        """Tell people how much the server has, when that changed."""
        held, total = self._agent.progress()
        words = f"the server has {held:,} of {total:,} bytes"
        if not self._as_json and words != self._told:
            self._told = words
            say(words)

    def end(self, code: int) -> None:
        """Tell the outcome."""
        held, total = self._agent.progress()
        outcome: dict[str, Any] = {"complete": code == 0, "held_bytes": held, "total_bytes": total}
        if self._as_json:
            sys.stdout.write(json.dumps({**outcome, "refused": self._agent.refused}) + "\n")
        elif code == 0 and total == 0:
            say("there is nothing to ship here")
        elif self._agent.refused and code:
            say("for jobs that are yours under another name there, give --user")
