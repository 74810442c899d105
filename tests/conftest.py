"""Real parts for all tests: both databases, and one throwaway Slurm cluster a session."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg2
import pytest
from playwright.sync_api import Browser, sync_playwright

from tracker.store.database import Database

ROOT = Path(__file__).resolve().parent.parent


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--screenshots FOLDER` keeps the pictures that the README shows."""
    parser.addoption("--screenshots", metavar="FOLDER", help="write the README's pictures there")


def wait_until(true: Callable[[], object], within_s: float = 20, pause_s: float = 0.05, what: str = "") -> object:
    """What `true` answers as soon as it is true. Fails the test when it is not within the time."""
    deadline = time.monotonic() + within_s
    while True:
        answer = true()
        if answer:
            return answer
        if time.monotonic() > deadline:
            pytest.fail(f"not within {within_s} s: {what or true}")
        time.sleep(pause_s)


@pytest.fixture(autouse=True)
def own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the tracker of the person who runs it."""
    for name in [name for name in os.environ if name.startswith(("TRACKER_", "SLURM_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("TRACKER_HOME", str(tmp_path_factory.mktemp("home")))


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a PostgreSQL server of our own, without a database name."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    assert programs, "PostgreSQL is missing: ./run test installs it"
    bin_folder = programs[-1].parent
    folder = Path(subprocess.check_output(["mktemp", "-d", "/tmp/tracker-pg-XXXXXX"], text=True).strip())
    owner = pwd.getpwnam("postgres")
    os.chown(folder, owner.pw_uid, owner.pw_gid)
    as_owner = {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": [], "cwd": "/"}
    quiet = {"check": True, "stdout": subprocess.DEVNULL}
    subprocess.run(
        [bin_folder / "initdb", "-D", folder / "data", "-A", "trust", "-E", "UTF8", "-N"], **quiet, **as_owner
    )
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = ["-p", str(port), "-k", str(folder), "-h", "127.0.0.1", "-c", "fsync=off", "-c", "max_connections=200"]
    server = subprocess.Popen(
        [bin_folder / "postgres", "-D", folder / "data", *options], stderr=subprocess.DEVNULL, **as_owner
    )
    ready = [bin_folder / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port)]
    wait_until(lambda: subprocess.run(ready, check=False).returncode == 0, what="PostgreSQL is ready")
    yield f"postgresql://postgres@127.0.0.1:{port}"
    server.terminate()
    server.wait()
    shutil.rmtree(folder)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database: every test that takes this runs on both."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'tracker.db'}"
    return _new_database(request.getfixturevalue("postgres"))


def _new_database(postgres_url: str) -> str:
    name = f"t{uuid.uuid4().hex}"
    connection = psycopg2.connect(f"{postgres_url}/postgres")
    connection.autocommit = True
    connection.cursor().execute(f"CREATE DATABASE {name}")
    connection.close()
    return f"{postgres_url}/{name}"


@pytest.fixture
def db(database_url: str) -> Iterator[Database]:
    """A database with our tables."""
    database = Database(database_url)
    database.upgrade()
    yield database
    database.close()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Debian's Chromium."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        )
        yield browser
        browser.close()
