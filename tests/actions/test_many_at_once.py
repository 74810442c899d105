"""A thousand array tasks that start at once: no request is refused, and nothing is there twice."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from tests.agent.real_server import RealServer
from tests.agent_side import Agent, hook, lines, points
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

    def __init__(self, server: RealServer, token: str, number: int, jobs: list[int], start_line: threading.Barrier):
        super().__init__()
        self.port, self.token, self.node, self.jobs, self.start_line = (
            server.port,
            token,
            f"n{number}",
            jobs,
            start_line,
        )
        self.answers: list[tuple[int, Any]] = []

    def run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        self.start_line.wait()
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
    start_line = threading.Barrier(NODES)
    jobs = range(FIRST, FIRST + TASKS)
    agents = [NodeAgent(server, token, number, list(jobs[number::NODES]), start_line) for number in range(NODES)]
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


def together(*work: Callable[[], Any]) -> list[Any]:
    """What each answers when all are done at the same moment."""
    with ThreadPoolExecutor(len(work)) as pool:
        return [one.result() for one in [pool.submit(one) for one in work]]


def test_a_run_outside_slurm_that_two_requests_bring_at_once(db: Database) -> None:
    for number in range(10):
        folder = f"local.{number:032x}"
        deliver = partial(Agent(db, cluster=None).send, lines(folder, *points(3)))
        answers = together(deliver, deliver, deliver)
        assert [list(answer["parts"][0]) for answer in answers] == [["offset"]] * 3
    with db.read() as session:
        assert session.scalar(select(func.count()).select_from(Run)) == 10
        assert set(session.scalars(select(Summary.count))) == {3}


def test_a_job_whose_hooks_name_no_cluster(db: Database) -> None:
    for job in range(10):
        told = hook("prolog", 100 + job, at=1.7e9, SLURM_CLUSTER_NAME="")
        together(*(partial(Agent(db, f"n{node}").send, told) for node in range(3)))
    with db.read() as session:
        assert session.scalar(select(func.count()).select_from(Run)) == 10


def test_new_experiments_named_in_opposite_orders(db: Database) -> None:
    jobs = range(1, 9)
    Agent(db).send(*(lines(f"dev.{job}", {}) for job in jobs))
    held = len(lines("dev.1", {})[1])
    for number in range(10):
        names = [f"e{number}{letter}" for letter in "abcd"]
        told = [{"event": "run", "experiment": name} for name in (*names, *reversed(names))]
        parts = [lines(f"dev.{job}", one, offset=held) for job, one in zip(jobs, told, strict=True)]
        together(partial(Agent(db, "n1").send, *parts[:4]), partial(Agent(db, "n2").send, *parts[4:]))
        held += len(parts[0][1])
    with db.read() as session:
        assert session.scalar(select(func.count()).select_from(Experiment)) == 1 + 40
