"""`tracker up`: server, watcher and agent as processes of one, which ends them all when it ends."""

from __future__ import annotations

import fcntl
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TextIO

import click

from tracker.agent.stop import Stop
from tracker.cli.keys import api_token_file, login_link, node_token_file, write_private
from tracker.cli.processes import SAFE_PATH, die_with_parent
from tracker.cli.server import listen, serve
from tracker.errors import SetupProblem
from tracker.settings import Settings

READY_WITHIN_S = 60
RESTART_AFTER_S = 2.0


def run_all(settings: Settings) -> None:
    """Run until a signal comes. Raises SetupProblem when the server does not get ready."""
    os.umask(0o077)  # what is kept here is for nobody else
    settings = replace(settings, log_requests=settings.log_requests or "no")
    _make_home(settings)
    with _only_one(settings) as lock:
        _run_all(settings, lock)


def _run_all(settings: Settings, lock: TextIO) -> None:
    if settings.listen.startswith("unix:"):
        raise SetupProblem("`tracker up` listens on a port; a Unix socket is for `tracker server` behind a proxy.")
    listener = listen(settings.listen, settings.port)
    port = listener.getsockname()[1]
    stop = Stop()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop.ask)
    server = os.fork()
    if server == 0:
        lock.close()  # it is ours alone: a server that outlives us must not hold up the next start
        _run_server(settings, listener)
    listener.close()
    helpers: dict[str, subprocess.Popen[bytes]] = {}
    try:
        if _await_ready(server, settings.listen, port, stop):
            _follow_up(replace(settings, url=f"http://{_shown(settings.listen)}:{port}"), server, helpers, stop)
        click.echo("stopping", err=True)
    finally:
        _stop(server, helpers)
        (settings.home_path / "server.json").unlink(missing_ok=True)


def _follow_up(
    settings: Settings, server: int, helpers: dict[str, subprocess.Popen[bytes]], stop: Stop
) -> None:  # fmt: skip
    """Tell where the server is, and run the helpers beside it."""
    write_private(settings.home_path / "server.json", json.dumps({"url": settings.url, "pid": os.getpid()}))
    api_token_file(settings)
    commands = _helper_commands(settings)
    environ = _helper_environ(settings)
    click.echo(f"tracker is ready: {login_link(settings)}")
    click.echo(_what_runs(commands), err=True)
    _supervise(server, commands, environ, helpers, stop)


def _make_home(settings: Settings) -> None:
    home = settings.home_path
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        problem = None if os.access(home, os.W_OK | os.X_OK) else "Permission denied"
    except OSError as refused:
        problem = refused.strerror
    if problem:
        raise SetupProblem(f"The folder {home} cannot be used ({problem}): set TRACKER_HOME to one that can.")


@contextmanager
def _only_one(settings: Settings) -> Iterator[TextIO]:
    """Hold the home's lock. Raises SetupProblem when another `tracker up` has it."""
    with (settings.home_path / "up.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SetupProblem(
                f"Another `tracker up` runs on {settings.home_path}: `tracker login` prints a link to it."
            ) from None
        yield lock


def _shown(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def _run_server(settings: Settings, listener: socket.socket) -> None:
    die_with_parent(signal.SIGQUIT)  # gunicorn's word for at once: the port is free for the next start
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        serve(settings, listener)
    except Exception as problem:  # the outermost place of this process: nobody else can tell what happened
        click.secho(f"tracker: the server cannot start: {problem}", fg="red", err=True)
        os._exit(1)
    os._exit(0)


def _await_ready(server: int, address: str, port: int, stop: Stop) -> bool:
    """Wait until the server answers; False when it was asked to stop before."""
    deadline = time.monotonic() + READY_WITHIN_S
    while time.monotonic() < deadline:
        if os.waitpid(server, os.WNOHANG)[0]:
            raise SetupProblem("The server ended before it was ready; the lines above say why.")
        connection = http.client.HTTPConnection(address, port, timeout=5)
        try:
            connection.request("GET", "/readyz")
            if connection.getresponse().status == 200:
                return True
        except OSError:
            pass  # not yet
        finally:
            connection.close()
        if stop.wait(0.05):
            return False
    raise SetupProblem(f"The server was not ready within {READY_WITHIN_S} s.")


def _helper_commands(settings: Settings) -> dict[str, list[str]]:
    """The processes beside the server: an agent for this home, and a watcher where there is a Slurm."""
    here = [sys.executable, "-m", "tracker"]
    commands = {
        "agent": [*here, "agent", "--spool", str(settings.spool_path), "--url", settings.url, "--shared"],
    }
    commands["agent"] += ["--sample-every", str(min(settings.sample_every_s, 3600))]
    if shutil.which("squeue"):
        database = ["--database", settings.database] if settings.database else []
        commands["watch"] = [*here, "watch", *database]
    return commands


def _helper_environ(settings: Settings) -> dict[str, str]:
    """Ours, but with the key of this home: a shell may be set up to talk to another server."""
    environ = {name: value for name, value in os.environ.items() if name not in ("TRACKER_TOKEN", "TRACKER_URL")}
    return {**environ, **SAFE_PATH, "TRACKER_TOKEN_FILE": str(node_token_file(settings))}


def _what_runs(commands: dict[str, list[str]]) -> str:
    slurm = "the queue of this machine's Slurm" if "watch" in commands else "no Slurm here: scripts outside Slurm only"
    return f"following: {slurm}. Ctrl-C ends it."


def _supervise(
    server: int,
    commands: dict[str, list[str]],
    environ: dict[str, str],
    helpers: dict[str, subprocess.Popen[bytes]],
    stop: Stop,
) -> None:
    """Start the helpers, again when they end, until it is asked to stop. Raises SetupProblem if the server ends."""
    not_before = dict.fromkeys(commands, 0.0)
    while not os.waitpid(server, os.WNOHANG)[0]:
        for name, command in commands.items():
            ended = name in helpers and helpers[name].poll() is not None
            if (name not in helpers or ended) and time.monotonic() >= not_before[name]:
                helpers[name] = subprocess.Popen(
                    command, env=environ, preexec_fn=die_with_parent, stdin=subprocess.DEVNULL
                )
                not_before[name] = time.monotonic() + RESTART_AFTER_S
        if stop.wait(0.2):
            return
    raise SetupProblem("The server ended; the lines above say why.")


def _stop(server: int, helpers: dict[str, subprocess.Popen[bytes]]) -> None:
    for process in helpers.values():
        process.terminate()
    try:
        os.kill(server, signal.SIGTERM)
        os.waitpid(server, 0)
    except (ProcessLookupError, ChildProcessError):
        pass  # it ended before
    for process in helpers.values():
        try:
            process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            process.kill()
