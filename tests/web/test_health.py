"""Whether the server can work, told to those who watch over it."""

from __future__ import annotations

from pathlib import Path

from tracker.settings import Settings
from tracker.store.database import Database
from web import create_app

from . import samples
from .conftest import Server


def test_a_server_with_its_database_is_ready(server: Server) -> None:
    assert server.ask("/healthz").json == {"status": "ok"}
    assert server.ask("/readyz").json == {"status": "ok"}


def test_a_server_whose_database_has_no_tables_is_not_ready(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'empty.db'}")
    client = create_app(Settings(), database).test_client()
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json is not None
    assert answer.json["code"] == "database_unavailable"
    assert client.get("/healthz").status_code == 200
    database.close()


def test_a_database_that_is_away_is_a_problem_of_its_own() -> None:
    away = Database("postgresql://nobody@127.0.0.1:9/nothing?connect_timeout=2")
    client = create_app(Settings(), away).test_client()
    answer = client.get("/api/v1/runs", headers={"Authorization": "Bearer trk_x"})
    assert answer.status_code == 503
    assert answer.json is not None
    assert answer.json["code"] == "database_unavailable"
    away.close()


def test_figures_count_the_runs_by_state(server: Server) -> None:
    with server.database.write() as session:
        samples.add_run(session)
        samples.add_run(session, user="bob")
    told = server.ask("/metrics", token=server.token()).text
    assert 'tracker_runs{state="RUNNING"} 1\n' in told
    assert "tracker_up 1\n" in told
    assert 'tracker_runs{state="RUNNING"} 2\n' in server.ask("/metrics", token=server.token("root", "admin")).text
