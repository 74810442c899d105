"""A throwaway Slurm cluster on this machine, with the tracker beside it."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lab import accounting, beside, leftovers, slurm_conf, slurm_daemons, users, users_python
from lab.daemon import Daemon, wait_until
from lab.place import LabError, Memory, Place, give_ports, labs_root, place, ports_of_other_labs, recall, remember
from lab.release import VERSIONS, Release

SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"


@dataclass(frozen=True)
class DaemonState:
    """One daemon and whether it runs."""

    name: str
    pid: int | None


class Cluster:
    """One lab by name: `dev` is `./run cluster`'s, `demo` the demo's, `test` the test suite's."""

    def __init__(
        self,
        name: str,
        nodes: int | None = None,
        gpus: int | None = None,
        slurm: str | None = None,
        port: int | None = None,
        bare: bool | None = None,
        shards: int | None = None,
        say: Callable[[str], None] = print,
    ) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9]{0,15}", name):
            raise LabError(f"a lab's name is 1 to 16 lower-case letters and digits, not {name!r}")
        self.at: Place = place(name)
        self.say = say
        self._port = port
        self._wanted = {"nodes": nodes, "gpus": gpus, "slurm": slurm, "bare": bare, "shards": shards}
        self._check_wanted()

    def _check_wanted(self) -> None:
        nodes, gpus, slurm = self._wanted["nodes"], self._wanted["gpus"], self._wanted["slurm"]
        if isinstance(nodes, int) and not 1 <= nodes <= 64:
            raise LabError(f"a cluster has 1 to 64 nodes, not {nodes}")
        if isinstance(gpus, int) and not 0 <= gpus <= 16:
            raise LabError(f"a node has 0 to 16 GPUs, not {gpus}")
        if slurm is not None and slurm not in VERSIONS:
            raise LabError(f"Slurm {slurm} is not available here, only {', '.join(VERSIONS)} are")

    @property
    def memory(self) -> Memory:
        """What the lab is now, or would be."""
        return recall(self.at) or self._fresh_memory()

    def _fresh_memory(self) -> Memory:
        return Memory(cgroups=slurm_conf.cgroups_usable())

    @property
    def nodes(self) -> list[str]:
        """The nodes' names."""
        return self.memory.node_names(self.at.name)

    # -- up and down

    def up(self) -> None:
        """Bring everything up. Harmless when it is up already; repairs what a crash has left."""
        with self._alone():
            users.make_users()
            Release(str(self._wanted["slurm"] or self.memory.slurm)).install()
            memory = self._settle()
            if not memory.bare:
                self._install(memory)
            self._step("munge", lambda: slurm_daemons.start_munged(self.at))
            self._step("MariaDB", lambda: accounting.start_mariadb(self.at))
            self._step("slurmdbd", lambda: accounting.start_slurmdbd(self.at, self._root_env()))
            self._step("accounts", self._make_accounts)
            self._step("slurmctld", lambda: slurm_daemons.start_slurmctld(self.at, self._root_env()))
            self._step(f"{memory.nodes} slurmd", lambda: self._start_slurmds(memory))
            if not memory.bare:
                self._step("tracker server", self.start_server)
                self._step(f"{memory.nodes} agents", self._start_agents)

    def _install(self, memory: Memory) -> None:
        """Put this checkout's tracker and its hooks in place; what runs of an older one is stopped first."""
        if users_python.is_current(self.at):
            return
        for node in self.nodes:
            self.stop_agent(node)
        self.stop_server()
        self._step("tracker of this checkout", lambda: users_python.install(self.at))
        self._step("hooks", self._install_hooks)

    def _install_hooks(self) -> None:
        conf = self.at.etc / "hooks.conf"
        before = conf.read_text()
        beside.install_hooks(self.at)
        if conf.read_text() != before and slurm_daemons.slurmctld(self.at).pid():
            slurm_daemons.ask(self._root_env(), "scontrol", "reconfigure")

    def down(self) -> None:
        """Stop everything and leave neither a process nor a mount, whatever state the lab is in."""
        if not self.at.root.exists():
            return
        with self._alone():
            self._step("down", self._take_down)

    def remove(self) -> None:
        """Take it down and remove its folder with everything in it."""
        self.down()

        def is_gone() -> bool:
            shutil.rmtree(self.at.root, ignore_errors=True)  # what was just ended may still be writing its last file
            return not self.at.root.exists()

        if not wait_until(is_gone, within_s=10, pause_s=0.2):
            raise LabError(f"{self.at.root} cannot be removed: remove it by hand")

    def crash(self) -> None:
        """End all daemons as a power cut would: no word, and jobs' own processes stay."""
        for daemon in self._daemons():
            daemon.kill()

    def _take_down(self) -> None:
        if recall(self.at) is None:  # a first `up` was interrupted before it knew its ports: no daemon has started
            leftovers.clear(self.at, self.nodes)
            return
        if slurm_daemons.slurmctld(self.at).pid():
            self._cancel_jobs()
        for daemon in reversed(self._daemons()):
            daemon.stop()
        leftovers.clear(self.at, self.nodes)

    def _cancel_jobs(self) -> None:
        """Cancel all jobs and give them a moment; what is left then is killed with the daemons."""
        env = self._root_env()
        jobs = slurm_daemons.ask(env, "squeue", "-h", "-a", "-o", "%A").split()
        if jobs:
            subprocess.run(["scancel", *jobs], env=env, capture_output=True, check=False)
            wait_until(lambda: not slurm_daemons.ask(env, "squeue", "-h", "-a").strip(), within_s=10, pause_s=0.2)

    def _settle(self) -> Memory:
        """Decide what the lab is to be; what runs otherwise is taken down first."""
        known = recall(self.at)
        memory = recall(self.at) or self._fresh_memory()
        for key, value in self._wanted.items():
            if value is not None:
                setattr(memory, key, value)
        if known and known == memory and slurm_daemons.slurmctld(self.at).pid():
            return memory
        if known:
            self._take_down()
        self.at.make()
        if self._port:
            memory.ports["server"] = self._port
        names = ["slurmctld", "slurmdbd", "server", *(f"slurmd-{node}" for node in memory.node_names(self.at.name))]
        give_ports(memory, names, ports_of_other_labs(self.at.name))
        slurm_conf.write(self.at, memory)
        remember(self.at, memory)
        return memory

    def _make_accounts(self) -> None:
        accounting.register_cluster(self.at, self._root_env())
        accounting.make_accounts(self.at, self._root_env())

    def _start_slurmds(self, memory: Memory) -> None:
        try:
            slurm_daemons.start_slurmds(self.at, memory, self._root_env())
        except LabError as problem:
            if not memory.cgroups or "cgroup" not in str(problem):
                raise
            self.say("  slurmd does not start with cgroups here; going on without (no OUT_OF_MEMORY on this machine)")
            memory.cgroups = False
            for daemon in reversed(self._daemons()[3:]):
                daemon.stop()
            slurm_conf.write(self.at, memory)
            remember(self.at, memory)
            slurm_daemons.start_slurmctld(self.at, self._root_env())
            slurm_daemons.start_slurmds(self.at, memory, self._root_env())

    def _daemons(self) -> list[Daemon]:
        """All daemons, in the order in which they start."""
        slurm = [
            slurm_daemons.munged(self.at),
            accounting.mariadb(self.at),
            accounting.slurmdbd(self.at),
            slurm_daemons.slurmctld(self.at),
            *(slurm_daemons.slurmd(self.at, node) for node in self.nodes),
        ]
        memory = self.memory
        if memory.bare:
            return slurm
        agents = [beside.agent(self.at, memory, node) for node in self.nodes]
        return [*slurm, beside.server(self.at, memory), *agents]

    def status(self) -> list[DaemonState]:
        """Each daemon and its process, in the order in which they start."""
        return [DaemonState(daemon.name, daemon.pid()) for daemon in self._daemons()]

    # -- using it

    def env(self) -> dict[str, str]:
        """What `./run cluster env` exports. Raises LabError before the first `up`."""
        memory = recall(self.at)
        if not memory:
            raise LabError(f"there is no cluster {self.at.name} yet: `./run cluster up` makes it")
        if memory.bare:
            return {"SLURM_CONF": str(self.at.slurm_conf), "PATH": self.slurm_path}
        return {
            "SLURM_CONF": str(self.at.slurm_conf),
            "PATH": f"{self.at.venv}/bin:{self.slurm_path}",
            "TRACKER_URL": beside.url(memory),
            "TRACKER_TOKEN": beside.admin_token(self.at),
            "TRACKER_MUNGE_SOCKET": str(self.at.munge_socket),
        }

    @property
    def slurm_path(self) -> str:
        """PATH with the commands of the lab's Slurm."""
        return f"{Release(self.memory.slurm).path}{SYSTEM_PATH}"

    @property
    def url(self) -> str:
        """The server's address."""
        return beside.url(self.memory)

    def login_url(self) -> str:
        """A link that logs in as administrator, once."""
        return beside.login_url(self.at)

    def start_server(self) -> None:
        """Start the server and wait until it answers."""
        beside.start_server(self.at, self.memory)
        beside.make_tokens(self.at)

    def stop_server(self) -> None:
        """Stop the server; jobs, hooks and agents go on."""
        beside.server(self.at, self.memory).stop()

    def restart_server(self) -> None:
        """Stop the server and start it again."""
        self.stop_server()
        self.start_server()

    def start_agent(self, node: str) -> None:
        """Start a node's agent."""
        beside.start_agent(self.at, self.memory, node)

    def _start_agents(self) -> None:
        for node in self.nodes:
            self.start_agent(node)

    def stop_agent(self, node: str) -> None:
        """Stop a node's agent."""
        beside.agent(self.at, self.memory, node).stop()

    def user_env(self) -> dict[str, str]:
        """What a user of the cluster has: no token."""
        env = self.env()
        env.pop("TRACKER_TOKEN", None)
        return {**env, "LANG": "C.UTF-8"}

    def run_as(
        self,
        user: str,
        argv: Sequence[str | Path],
        cwd: Path | str | None = None,
        env: Mapping[str, str] | None = None,
        stdin: str | None = None,
        timeout_s: float = 60,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command as a user of the cluster, in the user's home and in a clean environment."""
        return users.run_as(
            user, argv, env={**self.user_env(), **(env or {})}, cwd=cwd, stdin=stdin, timeout_s=timeout_s
        )

    def sbatch(
        self,
        user: str,
        *argv: str | Path,
        script: str | None = None,
        cwd: Path | str | None = None,
        env: Mapping[str, str] | None = None,
    ) -> int:
        """Submit a job: `argv` are sbatch's words, `script` the script's text. Gives the job id."""
        answer = self.run_as(user, ["sbatch", "--parsable", *argv], cwd=cwd, env=env, stdin=script)
        if answer.returncode:
            raise LabError(f"sbatch failed: {answer.stderr.strip()}")
        return int(answer.stdout.split(";")[0])

    # -- helpers

    def _root_env(self) -> dict[str, str]:
        return {"SLURM_CONF": str(self.at.slurm_conf), "PATH": self.slurm_path, "LANG": "C.UTF-8"}

    def _step(self, name: str, work: Callable[[], object]) -> None:
        started = time.monotonic()
        work()
        self.say(f"  {time.monotonic() - started:5.1f} s  {name}")

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold the lab's lock; a second command on the same lab waits and says so."""
        if os.geteuid() != 0:
            raise LabError("a Slurm of its own needs root: `sudo ./run cluster up`")
        labs_root().mkdir(mode=0o755, parents=True, exist_ok=True)
        with (labs_root() / f"{self.at.name}.lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self.say(f"another command works on the lab {self.at.name}; waiting for it")
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield
