"""Where a lab lives and what it remembers between two commands."""

from __future__ import annotations

import itertools
import json
import os
import random
import socket
from dataclasses import asdict, dataclass, field
from pathlib import Path

DEFAULT_ROOT = "/var/lib/tracker-lab"
CHECKOUT = Path(__file__).resolve().parent.parent
FIRST_PORT, LAST_PORT = 17_000, 32_000  # under the ports that Linux hands out by itself


class LabError(Exception):
    """Something a developer can act upon; its text is one sentence with the way out."""


def labs_root() -> Path:
    """The folder of all labs: `TRACKER_LAB`, or the default."""
    return Path(os.environ.get("TRACKER_LAB", DEFAULT_ROOT)).absolute()


@dataclass(frozen=True)
class Place:
    """The folder of one lab. Everything the lab makes is under it."""

    name: str
    root: Path

    @property
    def etc(self) -> Path:
        """Slurm's configuration."""
        return self.root / "etc"

    @property
    def run(self) -> Path:
        """Process id files and sockets."""
        return self.root / "run"

    @property
    def log(self) -> Path:
        """One log a daemon."""
        return self.root / "log"

    @property
    def database(self) -> Path:
        """MariaDB's data."""
        return self.root / "db"

    @property
    def venv(self) -> Path:
        """The Python of the lab's users."""
        return self.root / "venv"

    @property
    def home(self) -> Path:
        """`TRACKER_HOME` of the lab's server."""
        return self.root / "home"

    @property
    def hooks(self) -> Path:
        """The installed hooks."""
        return self.root / "hooks"

    @property
    def slurm_conf(self) -> Path:
        """The file that every Slurm command of this lab reads."""
        return self.etc / "slurm.conf"

    @property
    def munge_socket(self) -> Path:
        """The lab's own munged."""
        return self.run / "munge.socket"

    @property
    def database_socket(self) -> Path:
        """The lab's own MariaDB."""
        return self.database / "mysql.sock"

    def spool(self, node: str) -> Path:
        """The tracker's spool on one node."""
        return self.root / "nodes" / node / "spool"

    def make(self) -> None:
        """Make the lab's folders; whoever uses the cluster may look inside, except where keys lie."""
        for folder in (self.root, self.etc, self.run, self.log, self.hooks, self.root / "dev", self.root / "spool"):
            folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        for folder in (self.root / "munge", self.root / "state", self.home):
            folder.mkdir(mode=0o700, exist_ok=True)
        self.database.mkdir(mode=0o755, exist_ok=True)


def place(name: str) -> Place:
    """The place of the lab called `name`."""
    return Place(name, labs_root() / name)


@dataclass
class Memory:
    """What a lab was asked to be, and the ports it took."""

    nodes: int = 2
    gpus: int = 2
    shards: int = 0  # of a node: shares of its GPUs
    slurm: str = "22.05"
    bare: bool = False  # Slurm alone, without tracker beside it
    cgroups: bool = True
    ports: dict[str, int] = field(default_factory=dict)

    def node_names(self, lab: str) -> list[str]:
        """`n1`, `n2`, … in the lab `dev`; elsewhere with the lab's name before, as cgroups are named by node."""
        prefix = "n" if lab == "dev" else f"{lab}-n"
        return [f"{prefix}{number}" for number in range(1, self.nodes + 1)]


def recall(at: Place) -> Memory | None:
    """What the lab remembers; None when there is no lab yet or its notes are unreadable."""
    try:
        return Memory(**json.loads((at.root / "lab.json").read_text()))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def remember(at: Place, memory: Memory) -> None:
    """Write the lab's notes, whole or not at all."""
    draft = at.root / ".lab.json.tmp"
    draft.write_text(json.dumps(asdict(memory), indent=1) + "\n")
    draft.rename(at.root / "lab.json")


def port_is_free(port: int) -> bool:
    """Whether a server could listen on 127.0.0.1:`port` now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def free_port(wished: int) -> int:
    """The wished port when it is free, else the next one that is."""
    return next(port for port in range(wished, 65536) if port_is_free(port))


def give_ports(memory: Memory, names: list[str], taken_by_others: set[int]) -> None:
    """Give each name a port of its own, keeping those that are still free."""
    taken = set(taken_by_others)
    ports: dict[str, int] = {}
    # From anywhere in the range: two labs that start at the same moment would not see each other's ports yet.
    start = random.randrange(FIRST_PORT, LAST_PORT)
    candidates = itertools.chain(range(start, LAST_PORT), range(FIRST_PORT, start))
    for name in names:
        port = memory.ports.get(name, 0)
        while not port or port in taken or not port_is_free(port):
            port = next(candidates)
        ports[name] = port
        taken.add(port)
    memory.ports = ports


def ports_of_other_labs(name: str) -> set[int]:
    """Ports that other labs remember, so that two labs starting at once do not meet."""
    taken: set[int] = set()
    for notes in labs_root().glob("*/lab.json"):
        memory = None if notes.parent.name == name else recall(Place(notes.parent.name, notes.parent))
        taken.update(memory.ports.values() if memory else ())
    return taken
