"""A thousand array tasks that start at once: no request is refused, and nothing is there twice."""

from __future__ import annotations

import http.client
import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from tests.agent.real_server import RealServer
from tests.agent_side import hook, lines
from tracker.events import encode_request
from tracker.store.database import Database
from tracker.store.tables import Attempt, Experiment, Run, Summary, Writer

TASKS = 1000
NODES = 50
FIRST = 1001


@pytest.fixture
def server(tmp_path: Path, database_url: str) -> Any:
    (tmp_path / "home").mkdir()
    server = RealServer(tmp_path / "home", database_url)
    server.start()
    server.await_ready()
    yield server
    server.kill()


class NodeAgent(threading.Thread):
    """An agent that delivers what the tasks of its node wrote, in as many requests as its rounds would take."""

    def __init__(self, server: RealServer, token: str, number: int, jobs: list[int], together: threading.Barrier):
        super().__init__()
        self.port, self.token, self.node, self.jobs, self.together = server.port, token, f"n{number}", jobs, together
        self.answers: list[tuple[int, Any]] = []

    def run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        self.together.wait()
        for some in (self.jobs[:1], self.jobs[1:10], self.jobs[10:]):
            body = self.request(some)
            self.send(connection, body)
        self.send(connection, body)  # as after a lost answer
        connection.close()

    def request(self, jobs: list[int]) -> bytes:
        parts = [hook("prolog", job, at=time.time(), SLURMD_NODENAME=self.node) for job in jobs]
        parts += [lines(f"dev.{job}", *said(job), writer=f"w{job}{self.node}") for job in jobs]
        manifest = {
            "version": 1,
            "agent": {"node": self.node, "cluster": "dev", "time": time.time()},
            "folders": [],
            "parts": [{**part, "length": len(blob)} for part, blob in parts],
        }
        return encode_request(manifest, [blob for _, blob in parts])

    def send(self, connection: http.client.HTTPConnection, body: bytes) -> None:
        headers = {"Authorization": f"Bearer {self.token}"}
        connection.request("POST", "/api/v1/ingest", body, headers)
        response = connection.getresponse()
        self.answers.append((response.status, json.load(response)))


def said(job: int) -> list[dict[str, Any]]:
    return [
        {"event": "writer", "version": 1, "node": "n1", "rank": 0, "pid": job, "time": 1.7e9},
        {"event": "run", "experiment": "sweep"},
        {"event": "params", "params": {"seed": job, "lr": 0.1}},
        {"metrics": {"loss": 1 / job}, "step": 0, "time": 1.7e9},
    ]


def test_a_thousand_tasks_of_one_experiment_at_once(server: RealServer, database_url: str) -> None:
    token = server.agent_token()
    together = threading.Barrier(NODES)
    jobs = range(FIRST, FIRST + TASKS)
    agents = [NodeAgent(server, token, number, list(jobs[number::NODES]), together) for number in range(NODES)]
    for agent in agents:
        agent.start()
    for agent in agents:
        agent.join()
    answers = [answer for agent in agents for answer in agent.answers]
    assert {status for status, _ in answers} == {200}
    assert [part for _, answer in answers for part in answer["parts"] if "error" in part] == []
    with Database(database_url).read() as session:
        assert sorted(session.scalars(select(Experiment.name))) == ["default", "sweep"]
        assert session.scalars(select(Run.job_id).order_by(Run.job_id)).all() == list(jobs)
        assert set(session.execute(select(Run.state, Experiment.name).join(Experiment))) == {("RUNNING", "sweep")}
        assert {table: session.scalar(select(func.count()).select_from(table)) for table in (Attempt, Writer)} == {
            Attempt: TASKS,
            Writer: TASKS,
        }
        assert set(session.scalars(select(Summary.count))) == {1}
        assert session.scalar(select(func.count()).select_from(Summary)) == TASKS
