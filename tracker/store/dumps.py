"""PostgreSQL's own dump and restore, which are programs: the ones that fit the server's version."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from sqlalchemy import Connection, text
from sqlalchemy.engine import URL

from tracker.errors import DatabaseUnavailable, SetupProblem

_DEBIAN = Path("/usr/lib/postgresql")
_LOOK_EVERY_S = 0.5
_PLAIN = ("--no-owner", "--no-privileges", "--no-password")
Report = Callable[[int, int | None], None]


def dump(connection: Connection, url: URL, path: Path, report: Report) -> None:
    """Write a dump in PostgreSQL's custom format, compressed. Raises SetupProblem when no pg_dump fits the server."""
    version = int(connection.execute(text("SHOW server_version_num")).scalar_one()) // 10_000
    connection.rollback()
    words = [_program("pg_dump", version), "--format=custom", *_PLAIN, f"--file={path}", f"--dbname={_without(url)}"]
    _run(words, url, lambda: report(path.stat().st_size, None))


def load(url: URL, path: Path, report: Report) -> None:
    """Restore a dump into an empty database, as a whole or not at all."""
    words = [_program("pg_restore", 0), "--single-transaction", "--exit-on-error", *_PLAIN]
    _run([*words, f"--dbname={_without(url)}", str(path)], url, lambda: None)
    size_bytes = path.stat().st_size
    report(size_bytes, size_bytes)


def _program(name: str, at_least: int) -> str:
    """The newest of the programs of this name; pg_dump reads servers of its own version and older ones."""
    on_path = shutil.which(name)
    found = [*([on_path] if on_path else []), *map(str, _DEBIAN.glob(f"*/bin/{name}"))]
    newest = max(((_version(one), one) for one in found), default=(0, ""))
    if not found or newest[0] < at_least:
        there = f"the one here is of {newest[0]}" if found else "there is none here"
        wanted = f"{name} of PostgreSQL {at_least}" if at_least else name
        raise SetupProblem(f"This needs {wanted} or newer, and {there}: install the package postgresql-client.")
    return newest[1]


def _version(program: str) -> int:
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout
    number = re.search(r"\d+", said)
    return int(number[0]) if number else 0


def _without(url: URL) -> str:
    """The URL for programs, without the password: everybody on the machine can read their words."""
    open_part = URL.create("postgresql", url.username, None, url.host, url.port, url.database)
    query = {name: value for name, value in url.query.items() if name != "password"}
    return open_part.set(query=query).render_as_string(hide_password=False)


def _run(words: list[str], url: URL, look: Callable[[], None]) -> None:
    environ = {**os.environ, "PGAPPNAME": "tracker", "LC_ALL": "C.UTF-8"}
    secret = url.password or url.query.get("password")
    if secret:
        environ["PGPASSWORD"] = str(secret)
    with subprocess.Popen(words, env=environ, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as program:
        said = ""
        while True:
            try:
                said = program.communicate(timeout=_LOOK_EVERY_S)[1]
                break
            except subprocess.TimeoutExpired:
                look()
            except BaseException:
                program.terminate()
                raise
    if program.returncode != 0:
        last = (said.strip().splitlines() or [f"it ended with {program.returncode}"])[-1]
        raise DatabaseUnavailable(f"{Path(words[0]).name} did not succeed: {last}.")
