"""The tracker beside a lab's Slurm: hooks on its nodes, the server, one agent a node."""

from __future__ import annotations

import subprocess
import urllib.error
import urllib.request
from pathlib import Path

from lab.daemon import Daemon
from lab.place import LabError, Memory, Place
from lab.slurm_daemons import release

PATH = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"


def install_hooks(at: Place) -> None:
    """Install the hooks as an administrator would."""
    _tracker(
        at, "hooks", "install", "--directory", at.hooks,
        "--spool", at.spool("%n"), "--conf", at.etc / "hooks.conf",
    )  # fmt: skip


def url(memory: Memory) -> str:
    """The server's address."""
    return f"http://127.0.0.1:{memory.ports['server']}"


def server(at: Place, memory: Memory) -> Daemon:
    """`tracker up`: server, watcher and the agent for runs without hooks."""
    argv = [f"{at.venv}/bin/tracker", "up", "--port", str(memory.ports["server"])]
    return Daemon(at, "server", argv, _env(at))


def start_server(at: Place, memory: Memory) -> None:
    """Start the server and wait until it answers."""
    daemon = server(at, memory)
    daemon.start()
    # The file tells that it is this server: somebody else's may have taken the port in the meantime.
    daemon.wait_ready(lambda: (at.home / "server.json").exists() and _answers(f"{url(memory)}/readyz"))


def agent(at: Place, memory: Memory, node: str) -> Daemon:
    """The agent of one node. MUNGE vouches for it, as for the people of the lab."""
    argv = [f"{at.venv}/bin/tracker", "agent", "--node", node, "--cluster", at.name]
    argv += ["--spool", str(at.spool(node)), "--url", url(memory)]
    env = {"TRACKER_MUNGE_SOCKET": str(at.munge_socket), "TRACKER_HOME": str(at.spool(node).parent)}
    return Daemon(at, f"agent-{node}", argv, {**env, "PATH": f"{at.venv}/bin:{PATH}"})


def start_agent(at: Place, memory: Memory, node: str) -> None:
    """Start a node's agent; the server may be down, the agent then waits for it."""
    agent(at, memory, node).start()


def make_tokens(at: Place) -> None:
    """Make the keys that the lab keeps, once: an administrator's and the agents'. The server must have run before."""
    for name, options in (("admin", []), ("agent", ["--agent"])):
        kept = _kept(at, name)
        if not kept.exists():
            secret = _tracker(at, "token", "create", *options)
            kept.touch(mode=0o600)
            kept.write_text(secret)


def admin_token(at: Place) -> str:
    """An administrator's token; empty before the first `up`."""
    kept = _kept(at, "admin")
    return kept.read_text().strip() if kept.exists() else ""


def login_url(at: Place) -> str:
    """A link that logs in, once."""
    return _tracker(at, "login").strip()


def _kept(at: Place, name: str) -> Path:
    return at.home / f"lab-{name}.token"  # beside the database: they are lost together


def _env(at: Place) -> dict[str, str]:
    path = f"{at.venv}/bin:{release(at).path}{PATH}"  # each Slurm is asked by its own commands
    who = {"TRACKER_LOGINS": "link local munge", "TRACKER_MUNGE_SOCKET": str(at.munge_socket)}
    return {**who, "TRACKER_HOME": str(at.home), "HOME": str(at.root), "PATH": path}


def _tracker(at: Place, *words: str | Path) -> str:
    env = {**_env(at), "SLURM_CONF": str(at.slurm_conf), "LANG": "C.UTF-8"}
    argv = [str(word) for word in (at.venv / "bin" / "tracker", *words)]
    done = subprocess.run(argv, env=env, cwd=at.root, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LabError(f"`tracker {' '.join(argv[1:])}` failed: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
