"""A PostgreSQL of our own, which a test may stop, freeze and start again."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from contextlib import suppress
from pathlib import Path

import psycopg2

from tests.ports import free_port

READY_WITHIN_S = 120


class Postgres:
    """One server in a folder of its own; `url` has no database name."""

    def __init__(self) -> None:
        programs = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
        assert programs, "PostgreSQL is missing: ./run test installs it"
        self._bin = programs[-1].parent
        # In memory where there is room: a database a test is thousands of files.
        place = "/dev/shm" if os.access("/dev/shm", os.W_OK) and shutil.disk_usage("/dev/shm").free > 4e9 else "/tmp"
        self._folder = Path(tempfile.mkdtemp(prefix="tracker-pg-", dir=place))
        owner = pwd.getpwnam("postgres")
        os.chown(self._folder, owner.pw_uid, owner.pw_gid)
        self._as_owner = {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": [], "cwd": "/"}
        self._make_data()
        self._port = free_port()
        self.url = f"postgresql://postgres@127.0.0.1:{self._port}"
        self._server: subprocess.Popen[bytes] | None = None

    def _make_data(self) -> None:
        self._do("initdb", "-A", "trust", "-E", "UTF8", "-N")

    def _do(self, program: str, *words: str) -> None:
        """Run one of PostgreSQL's programs on the data."""
        command = [self._bin / program, "-D", self._folder / "data", *words]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, **self._as_owner)

    def start(self) -> None:
        """Start it and wait until it answers."""
        options = ["-p", str(self._port), "-k", str(self._folder), "-h", "127.0.0.1", "-c", "max_connections=200"]
        options += ["-c", "fsync=off"]  # the machine itself does not crash
        self._server = subprocess.Popen(
            [self._bin / "postgres", "-D", self._folder / "data", *options],
            stderr=subprocess.DEVNULL,
            **self._as_owner,
        )
        ready = [self._bin / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self._port)]
        deadline = time.monotonic() + READY_WITHIN_S
        while subprocess.run(ready, check=False).returncode != 0:
            assert time.monotonic() < deadline, "PostgreSQL does not get ready"
            time.sleep(0.05)

    def stop(self, number: int = signal.SIGTERM) -> None:
        """Stop it: SIGTERM waits for its clients, SIGINT ends them, SIGQUIT is a crash."""
        assert self._server is not None
        self._server.send_signal(number)
        self._server.wait()

    def freeze(self, frozen: bool) -> None:
        """Stop all of its processes where they are, or let them go on."""
        assert self._server is not None
        number = signal.SIGSTOP if frozen else signal.SIGCONT
        self._server.send_signal(number)  # first, so that it starts no more
        children = ["ps", "-o", "pid=", "--ppid", str(self._server.pid)]
        for pid in subprocess.check_output(children, text=True).split():
            with suppress(ProcessLookupError):  # of a connection that has just ended
                os.kill(int(pid), number)

    def new_database(self, like: str = "template1") -> str:
        """The URL of a database like that of this name or URL, an empty one if none is given."""
        name = f"t{uuid.uuid4().hex}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {like.rpartition('/')[2]}")
        return f"{self.url}/{name}"

    def drop(self, url: str) -> None:
        """Remove a database, whoever still has it open."""
        self.execute(f"DROP DATABASE {url.rpartition('/')[2]} WITH (FORCE)")

    def execute(self, statement: str) -> None:
        """Say something to the server itself."""
        connection = psycopg2.connect(f"{self.url}/postgres")
        connection.autocommit = True
        connection.cursor().execute(statement)
        connection.close()

    def remove(self) -> None:
        """End it and remove its folder."""
        if self._server is not None and self._server.poll() is None:
            self.stop(signal.SIGINT)
        shutil.rmtree(self._folder)


class Standby(Postgres):
    """A streaming standby of another one."""

    def __init__(self, primary: Postgres) -> None:
        self._primary = primary
        super().__init__()

    def _make_data(self) -> None:
        self._do("pg_basebackup", f"--dbname={self._primary.url}", "--write-recovery-conf", "--checkpoint=fast", "-N")

    def promote(self) -> None:
        """Make it a primary of its own."""
        self._do("pg_ctl", "promote")
