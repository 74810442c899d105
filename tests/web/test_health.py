"""Whether the server can work, told to those who watch over it."""

from __future__ import annotations

from pathlib import Path

from tracker.settings import Settings
from tracker.store import clusters
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
    assert 'tracker_runs{state="RUNNING"} 1.0\n' in told
    assert "tracker_up 1.0\n" in told
    assert 'tracker_runs{state="RUNNING"} 2.0\n' in server.ask("/metrics", token=server.token("root", "admin")).text


def test_what_watching_costs_slurm_is_told_to_administrators(server: Server) -> None:
    with server.database.write() as session:
        samples.add_cluster(session)
        cluster = clusters.get(session, "dev")
        cluster.source, cluster.lacks = "commands", ["accounting"]
        cluster.questions = {"queue": {"asked": 7, "failed": 1, "last_hour": 6, "last_s": 0.25}}
    told = server.ask("/metrics", token=server.token("root", "admin")).text
    assert 'tracker_slurm_questions_total{cluster="dev",question="queue",source="commands"} 7.0\n' in told
    assert 'tracker_slurm_question_seconds{cluster="dev",question="queue",source="commands"} 0.25\n' in told
    assert "tracker_slurm" not in server.ask("/metrics", token=server.token()).text
    page = " ".join(server.ask("/cluster", token=server.token()).text.split())
    assert "was asked 6 times in the last hour" in page
    assert "queue 6 (0.25 s, 1 without an answer)" in page
    assert "Slurm has no accounting (slurmdbd)" in page
