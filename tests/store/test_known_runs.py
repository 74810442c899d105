"""Runs are locked together, whatever becomes of them while somebody waits for one; and any number of them is found."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone

from sqlalchemy import text

from tests.agent_side import Agent, hook, lines, points
from tests.conftest import wait_until
from tracker.actions.join_tasks import ArrayTask, join_tasks
from tracker.store import attempts, experiments, known_runs, runs
from tracker.store.database import Database
from tracker.store.known_runs import KnownRun

NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)
JOBS = {("dev", 12), ("dev", 13)}


def made(db: Database, **facts: object) -> str:
    with db.write() as session:
        experiment = experiments.named(session, experiments.DEFAULT, NOW)
        told = {"cluster": "dev", "state": "RUNNING", "state_source": "queue", **facts}
        return runs.add(session, experiment=experiment, now=NOW, **told).id


def waits_for_a_lock(db: Database) -> bool:
    if not db.is_postgresql:
        return True  # it waits for its turn
    with db.read() as session:
        query = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        return bool(session.scalar(text(query)))


def test_a_run_that_is_joined_to_another_while_somebody_waits_for_it(db: Database) -> None:
    waited = made(db, state="PENDING", array_job_id=10, array_task_id=2)
    made(db, job_id=12)
    other = made(db, job_id=13)

    def reserved() -> Sequence[KnownRun]:
        with db.write() as session:
            return known_runs.reserve(session, JOBS)

    with ThreadPoolExecutor(1) as pool:
        with db.write() as session:
            known_runs.reserve(session, {("dev", 12)})
            asked = pool.submit(reserved)
            wait_until(lambda: waits_for_a_lock(db))
            join_tasks(session, "dev", [ArrayTask(12, 10, 2, None)])
        assert {(run.id, run.job_id) for run in asked.result()} == {(waited, 12), (other, 13)}


def test_lines_that_wait_for_such_a_run_are_stored_in_the_one_that_is_left(db: Database) -> None:
    waited = made(db, state="PENDING", array_job_id=10, array_task_id=2)
    first = lines("dev.12", *points(2))
    held = Agent(db).send(first, lines("dev.13", *points(1)))["parts"][0]["offset"]
    with ThreadPoolExecutor(1) as pool:
        with db.write() as session:
            known_runs.reserve(session, {("dev", 12)})
            more = lines("dev.12", *points(1, first=2), offset=held)
            asked = pool.submit(Agent(db).send, more, lines("dev.13", b""))
            wait_until(lambda: waits_for_a_lock(db))
            join_tasks(session, "dev", [ArrayTask(12, 10, 2, None)])
        assert asked.result()["parts"][0] == {"offset": held + len(more[1])}
    with db.read() as session:
        assert [run.id for run in runs.of_cluster(session, "dev", [12])] == [waited]


def test_any_number_of_runs_is_found_by_as_many_ids(db: Database) -> None:
    """SQLite takes 32,766 parameters as it comes, and 250,000 as Debian builds it."""
    one, task = made(db, job_id=5), made(db, array_job_id=6, array_task_id=1, state="PENDING")
    many = range(300_000)
    with db.write() as session:
        assert [run.id for run in runs.by_ids(session, [one, *map(str, many)])] == [one]
        assert runs.job_ids(session, [one, task, *map(str, many)]) == {one: 5, task: 6}
        assert {run.id for run in runs.of_cluster(session, "dev", many, many, many)} == {one, task}
        assert [run.id for run in runs.without_job_id(session, "dev", [(one, one) for one in many])] == [task]
        assert runs.over(session, [("dev", job) for job in many], map(str, many)) == []
        assert attempts.gpus_on(session, {("dev", job) for job in many}, "n1") == {("dev", 5): []}


def test_jobs_of_two_clusters_are_not_taken_for_each_other(db: Database) -> None:
    at = (NOW + timedelta(days=1)).timestamp()
    for cluster, job in (("dev", 1), ("dev", 2), ("old", 1), ("old", 2)):
        started = {"SLURM_CLUSTER_NAME": cluster, "SLURM_JOB_GPUS": str(job), "SLURMD_NODENAME": "n1"}
        Agent(db, cluster=cluster).send(hook("prolog", job, at=at, **started))
    with db.write() as session:
        for cluster in ("dev", "old"):
            for run in runs.of_cluster(session, cluster, [1, 2]):
                run.state = "COMPLETED"
        asked = {("dev", 1), ("old", 2)}
        session.flush()
        assert {(run.cluster, run.job_id) for run in runs.over(session, asked, ())} == asked
        assert attempts.gpus_on(session, asked, "n1") == {("dev", 1): [1], ("old", 2): [2]}
