"""What each word after `./run` does."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import lab.setup
from lab import debian, local_samples, stages
from lab.cluster import Cluster
from lab.demo import report
from lab.place import CHECKOUT, LabError, labs_root, port_is_free
from lab.release import VERSIONS

SHARED = ("tracker/events.py", "tracker/credentials.py", "tracker/errors.py")
JOB_SIDE = ("tracker/__init__.py", "tracker/client", "tracker/agent", *SHARED)
CHECKS = {
    "lint": ["ruff", "check", "."],
    "format": ["ruff", "format", "--check", "."],
    "types": ["mypy"],
    "architecture": ["lint-imports"],
    # Jobs bring their own Python. What annotations name is never looked up.
    "Python 3.8 in jobs": ["vermin", "-q", "-t=3.8-", "--violations", *JOB_SIDE],
}
KEPT_BY_SUDO = ("TRACKER_LAB", "CI", "PIP_", "NODE_", "NPM_CONFIG_", "http_proxy", "https_proxy", "no_proxy")
SHELL_SCRIPTS = ("run", ".ci/run", "slurm_hooks/*.sh", "config/slurm/*.sh", "examples/*.sh")


def as_root(words: argparse.Namespace) -> None:
    """Go on as root; through sudo where that is possible. Raises LabError with the way out otherwise."""
    if os.geteuid() == 0:
        return
    again = f"./run {shlex.join(sys.argv[1:])}"
    sudo = shutil.which("sudo")
    if sudo and (sys.stdin.isatty() or subprocess.run([sudo, "-n", "true"], capture_output=True).returncode == 0):
        kept = ",".join(name for name in os.environ if name.startswith(KEPT_BY_SUDO))
        # Compiled files of root's would lie in the way of the checkout's owner.
        own = ["env", f"PYTHONPYCACHEPREFIX={labs_root()}/compiled"]
        os.execv(sudo, [sudo, f"--preserve-env={kept}", *own, str(CHECKOUT / "run"), *sys.argv[1:]])
    ways = "`./run demo --here` on a working Slurm, or `./run demo --local`" if words.command == "demo" else ""
    raise LabError(f"a Slurm of its own needs root: `sudo {again}`{', ' if ways else ''}{ways}")


def setup(words: argparse.Namespace) -> int:
    """`./run setup [--upgrade]`."""
    if words.upgrade:
        lab.setup.upgrade()
    lab.setup.set_up("venv")
    print("ready: .venv/bin/python, .venv/bin/tracker")
    return 0


def check(words: argparse.Namespace) -> int:
    """`./run check`: every check runs, whatever the others found."""
    lab.setup.set_up("venv")
    scripts = [str(path) for pattern in SHELL_SCRIPTS for path in sorted(Path().glob(pattern))]
    failed = [
        name for name, command in {**CHECKS, "shell": ["shellcheck", *scripts]}.items() if not _passes(name, command)
    ]
    print(f"check: {'failed: ' + ', '.join(failed) if failed else 'all passed'}")
    return 1 if failed else 0


def _passes(name: str, command: list[str]) -> bool:
    print(f"-- {name}: {shlex.join(command)}", flush=True)
    tool = lab.setup.VENV / "bin" / command[0]
    return subprocess.run([str(tool), *command[1:]], check=False).returncode == 0


def test(words: argparse.Namespace) -> int:
    """`./run test [pytest's arguments]`."""
    as_root(words)
    lab.setup.set_up("test")
    return _become_python("-m", "pytest", *workers(words.rest), *words.rest)


def workers(rest: list[str]) -> list[str]:
    """pytest's words for several processes, or none when a file or folder of tests is named."""
    paths = [Path(word.partition("::")[0]) for word in rest]
    named = any(len(path.parts) > 1 and path.parts[0] == "tests" and path.exists() for path in paths)
    return [] if named or any("no:xdist" in word for word in rest) else ["-n", "auto"]


def bench(words: argparse.Namespace) -> int:
    """`./run bench [NAME]`."""
    found = {path.stem: path for path in sorted(Path("bench").glob("[!_]*.py"))}
    if not words.name:
        print("\n".join(found) if found else "there is no benchmark yet")
        return 0
    if words.name not in found:
        raise LabError(f"there is no benchmark {words.name!r}; there are: {', '.join(found) or 'none'}")
    needs_slurm = "lab.cluster" in found[words.name].read_text()
    if needs_slurm:
        as_root(words)
    lab.setup.set_up("cluster" if needs_slurm else "venv")
    return _become_python("-m", f"bench.{words.name}", *words.arguments)


def _become_python(*words: str) -> int:
    python = str(lab.setup.VENV / "bin" / "python")
    sys.stdout.flush()
    os.execv(python, [python, *words])


def cluster(words: argparse.Namespace) -> int:
    """`./run cluster up|down|status|env|record`."""
    if words.action in ("env", "status"):
        return (_print_env if words.action == "env" else _print_status)(Cluster(words.name), words)
    one = Cluster(words.name, words.nodes, words.gpus, words.slurm)
    as_root(words)
    if words.action == "record":
        lab.setup.set_up("cluster")
        return _become_python("-m", "lab.recording", words.slurm or VERSIONS[0])
    if words.action == "down":
        one.down()
        return 0
    lab.setup.set_up("cluster")
    one.up()
    print(f'the page: {one.login_url()}\nin your shell: eval "$(./run cluster env)"')
    return 0


def _print_env(one: Cluster, words: argparse.Namespace) -> int:
    found = one.env()
    own = os.environ.get("PATH", "").split(os.pathsep)
    of_labs = [folder for folder in found["PATH"].split(os.pathsep) if folder.startswith(f"{labs_root()}/")]
    found["PATH"] = os.pathsep.join(dict.fromkeys([*of_labs, *own]))
    for name, value in found.items():
        print(f"export {name}={shlex.quote(value)}")
    return 0


def _print_status(one: Cluster, words: argparse.Namespace) -> int:
    states = one.status()
    if words.json:
        print(json.dumps({state.name: state.pid for state in states}))
    else:
        for state in states:
            print(f"{state.name:<16} {f'runs, pid {state.pid}' if state.pid else 'down'}")
    return 0 if all(state.pid for state in states) else 3


def demo(words: argparse.Namespace) -> int:
    """`./run demo [--once] [--port N] [--here | --local]`."""
    if words.port and not port_is_free(words.port):
        raise LabError(f"port {words.port} is in use: choose another one, or leave out --port")
    if words.local or (not words.here and not debian.available()):
        return _demo_local(words)
    if words.here:
        stages.require_slurm()
        lab.setup.set_up("samples")
        stage = stages.slurm_here
    else:
        as_root(words)
        lab.setup.set_up("cluster")
        stage = stages.own_slurm
    with stage(words.port) as (played, login):
        print(f"the page: {login}", flush=True)
        jobs = played.submit()
        try:
            good = report(played.follow(jobs))
        finally:
            played.cancel(jobs)
        if not words.once:
            stages.wait_for_ctrl_c(login)
    return 0 if good or not words.once else 1


def _demo_local(words: argparse.Namespace) -> int:
    if not words.local:
        print("no Slurm can be installed here (there is no apt-get): the samples run as local processes")
    lab.setup.set_up("samples")
    with stages.no_slurm(words.port) as (home, api, login):
        print(f"the page: {login}", flush=True)
        good = local_samples.run(home, api)
        if not words.once:
            stages.wait_for_ctrl_c(login)
    return 0 if good or not words.once else 1
