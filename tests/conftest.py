"""Real parts for all tests: both databases, and one throwaway Slurm cluster a session."""

from __future__ import annotations

import os
import re
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect, sync_playwright
from xdist.scheduler import LoadScopeScheduling

from lab.cluster import Cluster
from lab.place import labs_root
from tests.postgres import Postgres
from tracker.store.database import Database

ROOT = Path(__file__).resolve().parent.parent
TOGETHER = ("tests/e2e/", "tests/lab/", "tests/store/test_replica.py")  # they share what takes long to start
# A shell starts jobs in the background with interrupts ignored, and programs that tests start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--screenshots FOLDER` keeps the pictures that the README shows; `--outage 60` takes a minute's patience."""
    parser.addoption("--screenshots", metavar="FOLDER", help="write the README's pictures there")
    parser.addoption("--outage", metavar="SECONDS", type=float, default=3.0, help="how long a database is away (3)")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """An interrupted worker has ten seconds, which may not do for taking its cluster down."""
    for mark in labs_root().glob(f"*/tests-{os.getpid()}") if exitstatus == pytest.ExitCode.INTERRUPTED else ():
        Cluster(mark.parent.name).remove()


def mark_ours(cluster: Cluster) -> None:
    """Before a worker brings a cluster up: should the worker be killed, who started it takes the cluster down."""
    cluster.at.root.mkdir(parents=True)
    (cluster.at.root / f"tests-{os.getppid()}").touch()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Where there is no NVIDIA GPU its tests are deselected, which pytest tells; `-m gpu` runs them anyway."""
    if config.option.markexpr or Path("/dev/nvidiactl").exists():
        return
    needing = [item for item in items if item.get_closest_marker("gpu")]
    if needing:
        items[:] = [item for item in items if item not in needing]
        config.hook.pytest_deselected(items=needing)


@pytest.hookimpl(optionalhook=True)  # `-p no:xdist` does without
def pytest_xdist_auto_num_workers() -> int:
    """`-n auto`: some more than there are processors, as the tests on a Slurm wait most of the time."""
    return min(8, len(os.sched_getaffinity(0)) + 2)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """What each worker takes."""
    return Scheduling(config, log)


class Scheduling(LoadScopeScheduling):
    """A worker takes test after test. Those that stay together begin first: they take longest."""

    def _split_scope(self, nodeid: str) -> str:
        of_version = re.match(r"tests/states/.*\[(\d+\.\d+)", nodeid)
        if of_version:
            return f"tests/states/{of_version[1]}"
        return next((place for place in TOGETHER if nodeid.startswith(place)), nodeid)


def wait_until(true: Callable[[], object], within_s: float = 60, pause_s: float = 0.05, what: str = "") -> object:
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


class Templates:
    """Databases with our tables, made once a session: making the tables takes longer than most tests."""

    def __init__(self, folder: Path, postgres: Callable[[], Postgres]) -> None:
        self._sqlite = folder / "tables.db"
        self._postgres = postgres
        self._postgres_url = ""

    def sqlite(self, path: Path) -> None:
        if not self._sqlite.exists():
            _make_tables(f"sqlite:///{self._sqlite}")
        shutil.copyfile(self._sqlite, path)

    def postgres(self) -> str:
        if not self._postgres_url:
            self._postgres_url = self._postgres().new_database()
            _make_tables(self._postgres_url)
        return self._postgres().new_database(self._postgres_url)


def _make_tables(url: str) -> None:
    database = Database(url)
    database.upgrade()
    database.close()


@pytest.fixture(scope="session")
def templates(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Templates:
    return Templates(tmp_path_factory.mktemp("templates"), lambda: request.getfixturevalue("postgres"))


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path, templates: Templates) -> Iterator[str]:
    """A database, empty unless the test takes `db`, too: every test that takes this runs on both kinds."""
    has_tables = "db" in request.fixturenames
    if request.param == "sqlite":
        path = tmp_path / "tracker.db"
        if has_tables:
            templates.sqlite(path)
        yield f"sqlite:///{path}"
        return
    server: Postgres = request.getfixturevalue("postgres")
    url = templates.postgres() if has_tables else server.new_database()
    yield url
    server.drop(url)


@pytest.fixture
def db(database_url: str) -> Iterator[Database]:
    """A database with our tables."""
    database = Database(database_url)
    yield database
    database.close()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Debian's Chromium; what is expected of a page may take as long as elsewhere."""
    expect.set_options(timeout=60_000)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        )
        yield browser
        browser.close()
