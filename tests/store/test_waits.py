"""A waiting job's place in the queue of its partitions."""

from __future__ import annotations

import pytest

from tracker.store import waits
from tracker.store.database import Database
from tracker.store.tables import Wait
from tracker.store.waits import NO_TASK, Place

QUEUE = [
    # job, task, partition, priority, user, ranked
    (1, NO_TASK, "gpu", 900, "alice", True),
    (2, NO_TASK, "cpu,gpu", 800, "bob", True),
    (3, 0, "gpu", 700, "alice", True),
    (3, 1, "gpu", 700, "alice", True),
    (4, NO_TASK, "gpu", 700, "bob", True),
    (5, NO_TASK, "gpu", 950, "bob", False),
    (6, NO_TASK, "cpu", 850, "bob", True),
    (7, NO_TASK, "gpu_large", 999, "bob", True),
    (8, NO_TASK, "gp%", 999, "bob", True),
]


@pytest.fixture
def queue(db: Database) -> Database:
    keys = ("cluster", "job_id", "task_id")
    nothing = {column.name: None for column in Wait.__table__.columns if column.name not in keys}
    with db.write() as session:
        for job, task, partition, priority, user, ranked in QUEUE:
            told = {"partition": partition, "priority": priority, "user": user, "ranked": ranked}
            for cluster in ("dev", "other"):
                waits.put(session, cluster, {(job, task): {**nothing, **told}})
    return db


@pytest.mark.parametrize(
    ("job", "task", "place"),
    [
        (1, NO_TASK, Place(1, 5, 3)),
        (2, NO_TASK, Place(3, 6, 3)),  # beside those of both partitions
        (3, 0, Place(3, 5, 3)),
        (3, 1, Place(4, 5, 3)),
        (4, NO_TASK, Place(5, 5, 2)),
        (5, NO_TASK, None),  # something else holds it back
        (6, NO_TASK, Place(1, 2, 2)),
        (7, NO_TASK, Place(1, 1, 1)),
        (8, NO_TASK, Place(1, 1, 1)),
    ],
)
def test_the_place_in_the_queue(queue: Database, job: int, task: int, place: Place | None) -> None:
    with queue.read() as session:
        assert waits.place(session, session.get_one(Wait, ("dev", job, task))) == place
