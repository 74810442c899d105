"""What it costs a request that somebody must be known: beside the same answer at an address that is open to all.

Both are asked in turn of the application in this process, without a transport, so that nothing else differs; the
processor time of this process is counted.
"""

from __future__ import annotations

import time
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

from flask import Flask
from flask.testing import FlaskClient

import web.auth
from bench._figures import Row, Table, median, progress, told
from bench._servers import each_kind, place
from tracker.settings import Settings
from tracker.store import experiments, job_tokens, runs, tokens
from tracker.store.database import Database, Session
from web import create_app

if TYPE_CHECKING:
    from bench.server import Asked

TURNS, REQUESTS_A_TURN = 40, 50
BAR_MS = 1.0
_PEER = "10.0.0.7"


def measure(asked: Asked) -> list[Table]:
    """One table: each way to be known, by database."""
    rows: list[Row] = []
    turns = 8 if asked.quick else TURNS
    with place() as folder, each_kind(folder, asked.kinds) as databases:
        for kind, url in databases.items():
            progress(f"  {kind}: {turns} turns of {REQUESTS_A_TURN} requests")
            rows += _of_kind(kind, url, turns)
    return [Table("Processor time that it costs a request to know who asks", rows)]


def _of_kind(kind: str, url: str, turns: int) -> list[Row]:
    database = Database(url)
    database.upgrade()
    told_settings = Settings(
        logins="link proxy", trusted_proxies=_PEER, proxy_user_header="X-Remote-User", rate_limit=""
    )
    app = create_app(told_settings, database)
    _add_addresses(app)
    ways = _ways(database)
    spent: dict[str, list[float]] = {"open to all": [], **{name: [] for name in ways}}
    clients = {name: _client(app, headers) for name, headers in {"open to all": {}, **ways}.items()}
    for turn in range(turns + 1):
        for name, client in clients.items():
            taken_ms = _taken_ms(client, "/bench/open" if name == "open to all" else "/bench/closed")
            if turn:  # the first one warms up
                spent[name].append(taken_ms)
    database.close()
    base = median(spent["open to all"])
    return [
        told({
            "": f"{kind}: {name}", "n": turns * REQUESTS_A_TURN, "CPU ms a request": median(values),
            "more than open ms": median(values) - base, "bar ms": None if name == "open to all" else BAR_MS,
        })
        for name, values in spent.items()
    ]  # fmt: skip


def _add_addresses(app: Flask) -> None:
    app.add_url_rule("/bench/open", "bench.open", lambda: "ok")
    app.add_url_rule("/bench/closed", "bench.closed", lambda: "ok")
    web.auth.OPEN_TO_ALL.add("bench.open")


def _ways(database: Database) -> dict[str, dict[str, str]]:
    """The headers of each way to be known."""
    hour = timedelta(hours=1)
    with database.write() as session:
        program = tokens.create(session, "alice", "user", tokens.API, hour, scopes=["read"])
        agent = tokens.create(session, "agent", "node", tokens.NODE, hour)
        of_job = _of_job(session)
        browser = tokens.create(session, "alice", "user", tokens.SESSION, hour)
    return {
        "a program's token": {"Authorization": f"Bearer {program}"},
        "a browser's session": {"Cookie": f"tracker_http={browser}"},
        "a job's token": {"Authorization": f"Bearer {of_job}"},
        "an agent's key": {"Authorization": f"Bearer {agent}"},
        "a proxy's word": {"X-Remote-User": "alice"},
    }


def _of_job(session: Session) -> str:
    """The token of a job that runs."""
    now = datetime.now(timezone.utc)
    experiment = experiments.named(session, experiments.DEFAULT, now)
    runs.add(
        session, experiment=experiment, now=now, state="RUNNING", state_source="controller", cluster="dev", job_id=12,
        user="alice",
    )  # fmt: skip
    session.flush()
    return job_tokens.given(session, {("dev", 12): "alice"})["dev", 12]


def _client(app: Flask, headers: dict[str, str]) -> FlaskClient:
    client = app.test_client(use_cookies=False)
    client.environ_base.update({f"HTTP_{name.upper().replace('-', '_')}": value for name, value in headers.items()})
    client.environ_base["REMOTE_ADDR"] = _PEER
    return client


def _taken_ms(client: FlaskClient, path: str) -> float:
    begun_s = time.process_time()
    for _ in range(REQUESTS_A_TURN):
        assert client.get(path).status_code == 200
    return (time.process_time() - begun_s) * 1000 / REQUESTS_A_TURN
