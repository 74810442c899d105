"""Real parts for all tests: both databases, and one throwaway Slurm cluster a session."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.postgres import Postgres
from tracker.store.database import Database

ROOT = Path(__file__).resolve().parent.parent


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--screenshots FOLDER` keeps the pictures that the README shows; `--outage 60` takes a minute's patience."""
    parser.addoption("--screenshots", metavar="FOLDER", help="write the README's pictures there")
    parser.addoption("--outage", metavar="SECONDS", type=float, default=3.0, help="how long a database is away (3)")


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
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server of our own."""
    server = Postgres()
    server.start()
    yield server
    server.remove()


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database: every test that takes this runs on both."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'tracker.db'}"
    url: str = request.getfixturevalue("postgres").new_database()
    return url


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
