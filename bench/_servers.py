"""Servers to measure: a PostgreSQL as it comes, tracker on it or on SQLite, and MLflow on the same PostgreSQL."""

from __future__ import annotations

import http.client
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg2

from bench._figures import progress
from lab.place import CHECKOUT, LabError, free_port

READY_WITHIN_S = 60
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_OWNER = "postgres"


@dataclass(frozen=True)
class Server:
    """A tracker server that answers on loopback: `agent` is a key of agents, `admin` one of an administrator."""

    port: int
    url: str
    database: str
    agent: str
    admin: str
    pid: int


@contextmanager
def place() -> Iterator[Path]:
    """A folder on a disk, which /tmp need not be; databases that others own may lie in it."""
    with tempfile.TemporaryDirectory(prefix="tracker-server-", dir="/var/tmp") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@contextmanager
def postgresql(folder: Path) -> Iterator[str]:
    """A PostgreSQL with the settings it comes with; its URL, without a database. Raises LabError."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    if not programs:
        raise LabError("there is no PostgreSQL here: ./run test installs it")
    data, port, who = folder / "postgresql", free_port(27_600), {}
    data.mkdir()
    if os.geteuid() == 0:  # as which PostgreSQL does not run
        owner = pwd.getpwnam(_OWNER)
        os.chown(data, owner.pw_uid, owner.pw_gid)
        who = {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []}
    initdb = [programs[-1].parent / "initdb", "-D", data, "-A", "trust", "-E", "UTF8", "-U", "postgres"]
    subprocess.run(initdb, check=True, stdout=subprocess.DEVNULL, cwd="/", **who)  # type: ignore[call-overload]
    options = ["-p", str(port), "-k", str(data), "-h", "127.0.0.1"]
    command = [programs[-1], "-D", data, *options]
    server = subprocess.Popen(command, stderr=subprocess.DEVNULL, cwd="/", **who)  # type: ignore[call-overload]
    try:
        url = f"postgresql://postgres@127.0.0.1:{port}"
        _await_postgresql(url)
        yield url
    finally:
        server.send_signal(signal.SIGINT)  # it ends its clients: on SIGTERM it would wait for them
        server.wait()


def _await_postgresql(url: str) -> None:
    deadline = time.monotonic() + READY_WITHIN_S
    while True:
        try:
            psycopg2.connect(f"{url}/postgres").close()
            return
        except psycopg2.OperationalError:
            if time.monotonic() > deadline:
                raise LabError("PostgreSQL does not get ready") from None
            time.sleep(0.1)


def postgresql_pid(folder: Path) -> int:
    """The process of the PostgreSQL in that place."""
    return int((folder / "postgresql" / "postmaster.pid").read_text().split()[0])


def new_database(url: str, name: str) -> str:
    """The URL of an empty database of that name."""
    connection = psycopg2.connect(f"{url}/postgres")
    connection.autocommit = True
    connection.cursor().execute(f"CREATE DATABASE {name}")
    connection.close()
    return f"{url}/{name}"


def bytes_of(url: str) -> int:
    """What a database takes on the disk."""
    if url.startswith("sqlite"):
        return sum(file.stat().st_size for file in _files_of(url))
    with psycopg2.connect(url) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT pg_database_size(current_database())")
        (size_bytes,) = cursor.fetchone()
    connection.close()
    return int(size_bytes)


def drop(url: str) -> None:
    """Remove a database that nobody uses any more."""
    if url.startswith("sqlite"):
        for file in _files_of(url):
            file.unlink()
        return
    server, _, name = url.rpartition("/")
    connection = psycopg2.connect(f"{server}/postgres")
    connection.autocommit = True
    connection.cursor().execute(f"DROP DATABASE {name} WITH (FORCE)")
    connection.close()


def _files_of(url: str) -> list[Path]:
    file = Path(url.removeprefix("sqlite:///"))
    return [*file.parent.glob(f"{file.name}*")]


@contextmanager
def tracker_server(folder: Path, database: str) -> Iterator[Server]:
    """`tracker server` on this database, with its settings as they come."""
    port = free_port(27_700)
    folder.mkdir(parents=True, exist_ok=True)
    environ = {"PATH": "/usr/bin:/bin", "HOME": str(folder), "TRACKER_HOME": str(folder), "PYTHONPATH": str(CHECKOUT)}
    us = [sys.executable, "-m", "tracker"]
    with (folder / "server.log").open("wb") as log:
        command = [*us, "server", "--port", str(port), "--database", database]
        server = subprocess.Popen(command, env=environ, stdout=log, stderr=log)
    try:
        _await_ready(port, server, folder / "server.log")
        key = [*us, "token", "create", "--database", database]
        agent, admin = (subprocess.check_output([*key, *more], env=environ, text=True) for more in (["--agent"], []))
        url = f"http://127.0.0.1:{port}"
        yield Server(port, url, database, agent.split()[-1], admin.split()[-1], server.pid)
    finally:
        server.terminate()
        server.wait()


def _await_ready(port: int, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + READY_WITHIN_S
    while time.monotonic() < deadline and server.poll() is None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", "/readyz")
            if connection.getresponse().status == 200:
                return
        except OSError:
            pass
        finally:
            connection.close()
        time.sleep(0.1)
    raise LabError(f"the server did not start: {log.read_text(errors='replace')[-2000:]}")


@contextmanager
def each_kind(folder: Path, kinds: list[str]) -> Iterator[dict[str, str]]:
    """The URL of an empty database of each kind, `postgresql` or `sqlite`."""
    found = {"sqlite": f"sqlite:///{folder}/sqlite/tracker.db"} if "sqlite" in kinds else {}
    if "postgresql" not in kinds:
        yield found
        return
    progress("  PostgreSQL")
    with postgresql(folder) as url:
        yield {"postgresql": new_database(url, "tracker"), **found}


def size_of(path: Path) -> int:
    """Bytes of a folder's files."""
    return sum(one.stat().st_size for one in path.rglob("*") if one.is_file())


def remove(folder: Path) -> None:
    """A folder that is no longer needed."""
    shutil.rmtree(folder, ignore_errors=True)


def family_cpu_s(pid: int) -> float:
    """Processor time of a process and all that it started, as far as they live."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return _cpu_s(pid) + sum(family_cpu_s(int(child)) for child in children)


def postgresql_cpu_s(url: str) -> float:
    """Processor time of the processes that serve the connections to this database, as far as they live."""
    with psycopg2.connect(url) as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        pids = [pid for (pid,) in cursor.fetchall()]
    connection.close()
    return sum(map(_cpu_s, pids))


def ended_cpu_s(pid: int) -> float:
    """Processor time of all children of a process that have ended: connections are made and closed meanwhile."""
    return _ticks_s(pid, slice(13, 15))


def _cpu_s(pid: int) -> float:
    return _ticks_s(pid, slice(11, 13))


def _ticks_s(pid: int, which: slice) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[which])) / _TICKS_PER_S
