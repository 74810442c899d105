"""What the server tells running jobs through their agents."""

from __future__ import annotations

import time

from tests.agent_side import ADMIN, Agent, hook, lines
from tracker.store import runs
from tracker.store.database import Database

JOB = "dev.12"


def test_a_running_job_is_told_when_it_ends(db: Database) -> None:
    begun = time.time() - 60
    Agent(db).send(hook("prolog", 12, at=begun, SLURM_JOB_START_TIME=int(begun)), hook("prolog", 13, at=begun))
    assert Agent(db).send(present=(JOB, "dev.99", "local." + "a" * 32, "../x"))["tell"] == [
        {"folder": JOB, "attempt": 1}
    ]
    for limit_s in (600, 900):  # `scontrol update TimeLimit`, as the watcher sees it
        with db.write() as session:
            runs.get(session, ADMIN, "dev:12").time_limit_s = limit_s
        (told,) = Agent(db).send(present=(JOB,))["tell"]
        assert told == {"folder": JOB, "attempt": 1, "ends_at": int(begun) + limit_s}


def test_a_job_that_goes_on_is_told_where_it_got_to(db: Database) -> None:
    now = time.time()

    def writer(restarts: int) -> dict[str, object]:
        return {"event": "writer", "version": 1, "rank": 0, "restart_count": restarts, "time": now}

    first = [writer(0), *({"metrics": {"loss": 1.0}, "step": step} for step in range(421))]
    Agent(db).send(hook("prolog", 12, at=now - 300), lines(JOB, *first), hook("epilog", 12, at=now - 200))
    restarted = {"SLURM_JOB_RESTART_COUNT": 1}
    again = [writer(1), {"metrics": {"loss": 1.0}, "step": 900}]
    Agent(db).send(hook("prolog", 12, at=now - 100, pid=2, **restarted), lines(JOB, *again, writer="w2"))
    (told,) = Agent(db).send(present=(JOB,))["tell"]
    assert told == {"folder": JOB, "attempt": 2, "last_step": 420}


def test_who_does_not_run_is_told_nothing(db: Database) -> None:
    now = time.time()
    Agent(db).send(hook("prolog", 12, at=now - 9), hook("epilog", 12, at=now))
    assert Agent(db).send(present=(JOB,))["tell"] == []
