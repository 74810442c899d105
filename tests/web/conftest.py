"""A real server on a loopback port, programs and people that use it, and a real browser."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Page
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.serving import make_server

from tests.conftest import Templates, wait_until
from tests.ports import free_ports
from tracker.settings import Settings
from tracker.store import tokens
from tracker.store.database import Database
from web import create_app


@dataclass
class Answer:
    """What the server answered."""

    status: int
    headers: Any
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def text(self) -> str:
        return self.body.decode()


class _Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


_opener = urllib.request.build_opener(_Stay)


@dataclass
class Server:
    """A running server and the database behind it."""

    url: str
    database: Database

    def token(self, user: str = "alice", role: str = "user", purpose: str = tokens.API) -> str:
        with self.database.write() as session:
            secret = tokens.create(session, user, role, purpose, timedelta(hours=1))
            session.flush()
            tokens.note_use(session, tokens.id_of(secret))  # so that the first request writes no more than others
            return secret

    def ask(
        self, path: str, *, method: str = "GET", token: str | None = None, body: bytes | None = None, **headers: str
    ) -> Answer:
        """Send a request as a program; `headers` with `_` for `-`."""
        told = {name.replace("_", "-"): value for name, value in headers.items()}
        if token:
            told["Authorization"] = f"Bearer {token}"
        request = urllib.request.Request(self.url + path, data=body, method=method, headers=told)
        try:
            with _opener.open(request, timeout=30) as answer:
                return Answer(answer.status, answer.headers, answer.read())
        except urllib.error.HTTPError as refused:
            with refused:
                return Answer(refused.code, refused.headers, refused.read())


def _serve(database: Database, prefix: str = "", **settings: Any) -> Iterator[Server]:
    application = create_app(Settings(home=os.environ["TRACKER_HOME"], **settings), database)
    mounted = DispatcherMiddleware(_nothing, {prefix: application}) if prefix else application
    server = make_server("127.0.0.1", 0, mounted, threaded=True)
    server.daemon_threads = False
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield Server(f"http://127.0.0.1:{server.port}{prefix}", database)
    server.shutdown()
    thread.join()
    server.server_close()


def _nothing(_environ: Any, start: Callable[..., Any]) -> list[bytes]:
    start("404 Not Found", [])
    return [b""]


@pytest.fixture
def server(db: Database) -> Iterator[Server]:
    """A server on each kind of database."""
    yield from _serve(db)


@pytest.fixture
def serve(db: Database) -> Iterator[Callable[..., Server]]:
    """Servers with settings of their own, on each kind of database."""
    with ExitStack() as running:
        yield lambda **settings: running.enter_context(contextmanager(_serve)(db, **settings))


@pytest.fixture
def serve_on_sqlite(tmp_path: Path, templates: Templates) -> Iterator[Callable[..., Server]]:
    """The same on one kind, for what has nothing to do with databases and takes its time."""
    templates.sqlite(tmp_path / "tracker.db")
    database = Database(f"sqlite:///{tmp_path / 'tracker.db'}")
    with ExitStack() as running:
        running.callback(database.close)
        yield lambda **settings: running.enter_context(contextmanager(_serve)(database, **settings))


@pytest.fixture
def prefixed_server(db: Database) -> Iterator[Server]:
    """A server that lives under a prefix."""
    yield from _serve(db, "/hpc/tracker")


@dataclass
class Person:
    """Somebody who is logged in with a browser. What the console says is kept."""

    page: Page
    server: Server
    console: list[str]

    def open(self, path: str) -> Page:
        self.page.goto(self.server.url + path)
        return self.page


@pytest.fixture
def visit(browser: Browser) -> Iterator[Callable[..., Person]]:
    """Log people in. In the end no browser may have complained about an error or a breach of the policy."""
    contexts: list[BrowserContext] = []
    complaints: list[str] = []

    def log_in(server: Server, user: str = "alice", role: str = "admin", **wishes: Any) -> Person:
        context = browser.new_context(**({"viewport": {"width": 1280, "height": 900}} | wishes))
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda said: complaints.append(said.text) if said.type in ("error", "warning") else None)
        page.on("pageerror", lambda problem: complaints.append(str(problem)))
        page.goto(f"{server.url}/login?token={server.token(user, role, tokens.LOGIN)}")
        return Person(page, server, complaints)

    yield log_in
    for context in contexts:
        context.close()
    assert complaints == []


class Listening:
    """A client of the stream; a connection that says nothing for 20 s fails the test."""

    def __init__(self, url: str, token: str, last_event_id: str | None = None) -> None:
        told = urlsplit(url)
        self.connection = http.client.HTTPConnection(str(told.hostname), told.port, timeout=20)
        headers = {"Authorization": f"Bearer {token}"} | ({"Last-Event-ID": last_event_id} if last_event_id else {})
        self.connection.request("GET", f"{told.path}/api/v1/stream", headers=headers)
        self.answer = self.connection.getresponse()
        self.last_id = ""

    def next(self, *kinds: str) -> tuple[str, Any]:
        """The next event of these kinds, of any if none are named."""
        said: dict[str, str] = {}
        while True:
            line = self.answer.readline().decode()
            assert line, "the stream ended"
            name, _, value = line.rstrip("\n").partition(": ")
            if name:
                said[name] = value
            elif "event" in said:
                self.last_id = said.get("id", self.last_id)
                if not kinds or said["event"] in kinds:
                    return said["event"], json.loads(said["data"])
                said = {}

    def close(self) -> None:
        self.answer.close()
        self.connection.close()


@pytest.fixture
def listen() -> Iterator[Callable[..., Listening]]:
    open_ones: list[Listening] = []

    def begin(server: Server, user: str = "alice", role: str = "user", **more: Any) -> Listening:
        client = Listening(server.url, server.token(user, role), **more)
        open_ones.append(client)
        return client

    yield begin
    for client in open_ones:
        client.close()


@pytest.fixture
def real_server(db: Database, tmp_path: Path) -> Iterator[tuple[Server, Path]]:
    """`tracker server` with one process of two threads that feeds twelve streams, and its log."""
    (port,), log = free_ports(1), tmp_path / "log"
    settings = {"WEB_WORKERS": 1, "WEB_THREADS": 2, "STREAM_CLIENTS": 12, "PORT": port, "DATABASE": db.url}
    environ = os.environ | {f"TRACKER_{name}": str(value) for name, value in settings.items()}
    with log.open("wb") as out:
        process = subprocess.Popen([sys.executable, "-m", "tracker", "server"], env=environ, stderr=out)
    server = Server(f"http://127.0.0.1:{port}", db)

    def answers() -> bool:
        try:
            return server.ask("/readyz").status == 200
        except OSError:
            return False

    wait_until(answers, within_s=60)
    yield server, log
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 0
