"""What an agent tells of the hardware: which GPUs a job has, and which an agent has to ask for."""

from __future__ import annotations

import json
import time
from datetime import datetime, timezone

from tests.agent_side import NODE, Agent, hook, lines
from tracker.store import attempts, experiments, runs
from tracker.store.database import Database
from tracker.store.tables import Gpu

MACHINE = {"event": "writer", "version": 1, "kind": "machine", "node": "n1"}


def gpus(db: Database, job_id: int = 12) -> list[tuple[int, str, int, str | None, str | None]]:
    """All GPUs of a job's run: attempt, node, index, UUID and type."""
    with db.read() as session:
        run = runs.of_job(session, "dev", job_id, datetime.now(timezone.utc))
        assert run is not None
        held = session.query(Gpu).filter_by(run_id=run.id).order_by(Gpu.attempt, Gpu.node, Gpu.index)
        return [(gpu.attempt, gpu.node, gpu.index, gpu.uuid, gpu.type) for gpu in held]


def named(*told: object, at: float) -> dict[str, object]:
    return {"event": "gpus", "gpus": list(told), "time": at}


def asked(agent: Agent, *folders: object) -> dict[str, list[int]]:
    manifest = {"version": 1, "agent": {"node": agent.node, "cluster": "dev"}, "gpus_of": folders, "parts": []}
    answer = agent.door.take(NODE, json.dumps(manifest).encode() + b"\n", datetime.now(timezone.utc))
    found: dict[str, list[int]] = answer["gpus"]
    return found


def test_the_agent_tells_what_the_gpus_of_an_attempt_are(db: Database) -> None:
    now_s = time.time()
    agent = Agent(db)
    agent.send(hook("prolog", 12, at=now_s - 5, SLURMD_NODENAME="n1", SLURM_JOB_GPUS="0,2"))
    told = named({"index": 2, "uuid": "GPU-b", "name": "H200"}, {"index": 3, "uuid": "GPU-c"}, at=now_s)
    agent.send(lines("dev.12", {**MACHINE, "time": now_s}, told, writer="machine-n1-1", own=True))
    assert gpus(db) == [(1, "n1", 0, None, None), (1, "n1", 2, "GPU-b", "H200")]


def test_a_user_cannot_name_the_gpus_of_the_job(db: Database) -> None:
    """They write into the job's folder what they like; what the agent itself tells comes apart from that."""
    now_s = time.time()
    agent = Agent(db)
    agent.send(hook("prolog", 12, at=now_s - 5, SLURMD_NODENAME="n1", SLURM_JOB_GPUS="0"))
    told = named({"index": 0, "uuid": "GPU-of-bob", "name": "H200"}, at=now_s)
    agent.send(lines("dev.12", {**MACHINE, "time": now_s}, told, writer="machine-n1-1"))
    assert gpus(db) == [(1, "n1", 0, None, None)]


def test_the_gpus_of_a_node_whose_clock_is_behind_are_known(db: Database) -> None:
    its_s = time.time() - 3600
    agent = Agent(db, skew_s=3600)
    agent.send(hook("prolog", 12, at=its_s - 5, SLURMD_NODENAME="n1", SLURM_JOB_GPUS="0"))
    told = named({"index": 0, "uuid": "GPU-a", "name": "T4"}, at=its_s)
    agent.send(lines("dev.12", {**MACHINE, "time": its_s}, told, writer="machine-n1-1", own=True))
    assert gpus(db) == [(1, "n1", 0, "GPU-a", "T4")]


def test_each_attempt_has_its_own_gpus(db: Database) -> None:
    now_s = time.time()
    agent = Agent(db)
    where = {"SLURMD_NODENAME": "n1", "SLURM_JOB_GPUS": "0"}
    agent.send(hook("prolog", 12, at=now_s - 50, **where))
    agent.send(hook("epilog", 12, at=now_s - 40, pid=2, **where))
    agent.send(hook("prolog", 12, at=now_s - 30, pid=3, SLURM_JOB_RESTART_COUNT=1, **where))
    for number, (uuid, at) in enumerate([("GPU-new", now_s - 20), ("GPU-old", now_s - 45)]):
        told = named({"index": 0, "uuid": uuid, "name": "T4"}, at=at)
        agent.send(lines("dev.12", {**MACHINE, "time": at}, told, writer=f"machine-n1-{number}", own=True))
    assert gpus(db) == [(1, "n1", 0, "GPU-old", "T4"), (2, "n1", 0, "GPU-new", "T4")]


def test_nonsense_about_gpus_changes_nothing(db: Database) -> None:
    now_s = time.time()
    agent = Agent(db)
    agent.send(hook("prolog", 12, at=now_s - 5, SLURMD_NODENAME="n1", SLURM_JOB_GPUS="0"))
    nonsense = [
        None,
        7,
        {"index": "0", "uuid": "x"},
        {"index": 0},
        {"index": 0, "uuid": ["x"]},
        {"index": -1, "uuid": "x"},
    ]
    messages = [{"event": "gpus"}, {"event": "gpus", "gpus": {}}, named(*nonsense, at=now_s)]
    agent.send(lines("dev.12", {**MACHINE, "time": now_s}, *messages, writer="w1", own=True))
    assert gpus(db) == [(1, "n1", 0, None, None)]


def test_an_agent_that_missed_the_prolog_learns_the_gpus_of_the_last_attempt_on_its_node(db: Database) -> None:
    now_s = time.time()
    first, second = Agent(db, "n1"), Agent(db, "n2")
    first.send(hook("prolog", 12, at=now_s - 50, SLURMD_NODENAME="n1", SLURM_JOB_GPUS="0,1"))
    first.send(hook("epilog", 12, at=now_s - 40, pid=2, SLURMD_NODENAME="n1", SLURM_JOB_GPUS="0,1"))
    again = {"SLURM_JOB_GPUS": "3", "SLURM_JOB_RESTART_COUNT": 1}
    first.send(hook("prolog", 12, at=now_s - 30, pid=3, SLURMD_NODENAME="n1", **again))
    second.send(hook("prolog", 12, at=now_s - 30, pid=4, SLURMD_NODENAME="n2", **{**again, "SLURM_JOB_GPUS": "0,1"}))
    first.send(hook("prolog", 13, at=now_s, SLURMD_NODENAME="n1"))
    assert asked(first, "dev.12", "dev.13", "dev.14", "local." + "a" * 32, 7) == {"dev.12": [3], "dev.13": []}
    assert asked(second, "dev.12") == {"dev.12": [0, 1]}
    assert asked(first) == {}


def test_a_job_id_that_was_used_again_is_the_newest_job(db: Database) -> None:
    long_ago, now = (datetime.fromtimestamp(time.time() - age_s, tz=timezone.utc) for age_s in (10**6, 0))
    with db.write() as session:
        for at, index in ((long_ago, 0), (now, 1)):
            experiment = experiments.named(session, "default", at)
            facts = {"state": "RUNNING", "state_source": "hook", "cluster": "dev", "job_id": 12}
            run = runs.add(session, experiment=experiment, now=at, **facts)
            attempt = attempts.add(session, run.id, [], at, "RUNNING", source="hook")
            attempts.add_node(session, attempt, "dev", "n1", [attempts.HeldGpu(index)])
    assert asked(Agent(db), "dev.12") == {"dev.12": [1]}
