"""A job read for people: on its page, by the API and in the terminal."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from tests.conftest import ROOT
from tracker.store import params, usages, waits, writers
from tracker.store.database import Session
from tracker.store.tables import Run

from . import samples
from .conftest import Person, Server
from .test_api import counted_statements

GIB = 1024**3


def waiting(session: Session, **facts: Any) -> Run:
    """A job that waits behind two others, one of them its user's; of six that started four did seven minutes late."""
    samples.add_cluster(session)
    run = samples.add_run(session, state="PENDING", reason="QOSMaxJobsPerUserLimit", job_id=103, age_s=900)
    for job, priority, user in ((101, 900, "bob"), (102, 800, "alice"), (103, 700, "alice"), (104, 600, "bob")):
        told = {"user": user, "priority": priority}
        waits.put(session, "dev", {(job, waits.NO_TASK): row(**(told | (facts if job == 103 else {})))})
    for number in range(6):
        at = samples.moment(3600 * number)
        late = timedelta(minutes=7 if number < 4 else 0)
        started = row(first_estimate_at=at - late, estimate_at=at - timedelta(seconds=20), started_at=at)
        waits.put(session, "dev", {(number, waits.NO_TASK): started})
    return run


def row(**facts: Any) -> dict[str, Any]:
    nothing = dict.fromkeys(
        ("estimate_at", "first_estimate_at", "started_at", "planned_nodes", "dependency", "reservation", "features",
         "licenses", "array_throttle", "limit_words")
    )  # fmt: skip
    told = {"partition": "gpu", "user": "alice", "priority": 1, "ranked": True, "eligible_at": samples.moment(900)}
    return nothing | told | facts


def running(session: Session) -> Run:
    """A job that will not make its steps: 2,400 of 10,000 in 40 minutes of an hour."""
    run = samples.add_run(session, age_s=2412, time_limit_s=3600, gpus={"n1": [0]}, job_id=200)
    samples.log(session, run, "loss", [1.0] * 2400)
    params.set_params(session, run.id, {"max_steps": "10000"})
    assert run.started_at is not None
    usages.hold(session, [usages.Held(run.id, run.started_at, 16, 64 * GIB, 1, ended=False)])
    samples.log(session, run, "system/cpu.percent", [400.0] * 100, every_s=15, kind=writers.MACHINE)
    return run


def ended(session: Session) -> Run:
    """A job that held far more than it used."""
    run = samples.add_run(
        session, state="COMPLETED", age_s=3700, took_s=3600, time_limit_s=28_800, gpus={"n1": [0, 1]}, job_id=300
    )
    assert run.started_at is not None
    usages.hold(session, [usages.Held(run.id, run.started_at, 16, 64 * GIB, 1, ended=True)])
    usages.keep(session, [usages.Used(run.id, 3 * 3600.0, 8 * GIB)])
    values = {
        "cpu.percent": 300.0, "memory_bytes": 9.0 * GIB, "gpu.0.utilization_percent": 81.0,
        "gpu.1.utilization_percent": 0.0,
    }  # fmt: skip
    for name, value in values.items():
        samples.log(session, run, f"system/{name}", [value] * 240, every_s=15, kind=writers.MACHINE)
    return run


def test_the_page_of_a_job_that_waits(server: Server, visit: Callable[..., Person]) -> None:
    with server.database.write() as session:
        other = samples.add_run(session, state="FAILED", job_id=99, took_s=10)
        run = waiting(
            session, estimate_at=samples.moment(-7200), planned_nodes="n[1-2]",
            limit_words="MaxJobsPU=1 of the QOS tight",
            dependency="afternotok:99(unfulfilled)", licenses=samples.SCRIPT, reservation="maintenance",
        )  # fmt: skip
    mine = visit(server, "alice", "user").open(f"/runs/{run.id}")
    assert "2 of them are yours" in mine.get_by_role("region", name="Waiting").inner_text()
    page = visit(server, "root").open(f"/runs/{run.id}")
    said = page.get_by_role("region", name="Waiting").inner_text()
    assert "3rd of 4 in gpu" in said
    assert "2 of them are alice's" in said
    assert "MaxJobsPU=1 of the QOS tight" in said
    assert "half did within 7m 00s of Slurm's first word and within 20s of its last; the usual one 7m 00s later" in said
    assert "dev:99 has failed (now: failed)" in said
    assert page.get_by_role("link", name="dev:99").get_attribute("href") == f"/runs/{other.id}"
    assert page.evaluate("document.body.dataset.hacked") is None


def test_the_page_of_a_job_that_will_not_finish(server: Server, visit: Callable[..., Person]) -> None:
    with server.database.write() as session:
        run = running(session)
    page = visit(server).open(f"/runs/{run.id}")
    said = page.get_by_role("region", name="Forecast").inner_text()
    assert "It will not finish: 36 % of its steps at the limit; ask for --time=" in said
    assert "step 2 399 of 10 000" in said.replace("\u202f", " ")
    assert "4 of 16 cores busy in the mean" in page.get_by_role("region", name="Efficiency so far").inner_text()


def test_the_page_of_a_job_that_held_too_much(server: Server, visit: Callable[..., Person]) -> None:
    with server.database.write() as session:
        run = ended(session)
    page = visit(server).open(f"/runs/{run.id}")
    said = page.get_by_role("region", name="Efficiency").inner_text()
    for words in ("3 of 16 cores", "9 GiB of 64 GiB", "#SBATCH --mem=11G", "#SBATCH --cpus-per-task=4",
                  "#SBATCH --gres=gpu:1", "#SBATCH --time=01:15:00", "GPU 1 of the 2 that it held did nothing",
                  "saw 100 % of its time"):  # fmt: skip
        assert words in said


def test_the_api_tells_the_same(server: Server) -> None:
    with server.database.write() as session:
        waits_, runs_, over = waiting(session, estimate_at=samples.moment(-7200)), running(session), ended(session)
    token = server.token()
    pending, live, past = (server.ask(f"/api/v1/runs/{run.id}", token=token).json for run in (waits_, runs_, over))
    assert pending["waiting"]["place"] == {"place": 3, "of": 4, "theirs": 2}
    assert pending["waiting"]["estimates"]["jobs"] == 6
    assert (pending["forecast"], pending["efficiency"]) == (None, None)
    assert live["forecast"]["verdict"] == "will not finish"
    assert live["forecast"]["sentence"].startswith(
        "It will not finish: 36 % of its steps at the limit; ask for --time="
    )
    assert live["efficiency"]["cpu_percent"] == 25
    assert past["efficiency"]["lines"][0] == "#SBATCH --mem=11G"
    jobs = {job["job_id"]: job for job in server.ask("/api/v1/jobs?user=alice", token=token).json["items"]}
    assert jobs[200]["forecast"] == live["forecast"]
    assert jobs[200]["start_estimate_at"] is None
    assert jobs[103]["start_estimate_at"] == pending["waiting"]["start_estimate_at"] is not None


def test_reading_jobs_costs_few_statements_however_many_there_are(server: Server) -> None:
    token = server.token("root", "admin")
    counts = []
    for _ in range(2):
        with server.database.write() as session:
            waits_ = waiting(session, estimate_at=samples.moment(-7200), dependency="afterok:99(unfulfilled)")
            kinds = [waits_, running(session), ended(session)]
        for path in ("/api/v1/jobs", *(f"/api/v1/runs/{run.id}" for run in kinds)):
            with counted_statements(server) as told:
                assert server.ask(path, token=token).status == 200
            counts.append(len(told))
    assert counts[:4] == counts[4:]
    assert max(counts) <= 12, counts


def test_the_terminal_shows_it(server: Server) -> None:
    start_at = samples.moment(-7200)
    with server.database.write() as session:
        waits_ = waiting(session, estimate_at=start_at, licenses=samples.TERMINAL)
        runs_, over = running(session), ended(session)

    def tracker(*words: str) -> str:
        environ = {**os.environ, "TRACKER_URL": server.url, "TRACKER_TOKEN": server.token()}
        full = [sys.executable, "-m", "tracker", *words]
        return subprocess.run(full, cwd=ROOT, env=environ, capture_output=True, text=True, check=True).stdout

    shown = tracker("show", waits_.id)
    assert "3 of 4 in gpu, 2 of them of the same user" in shown
    assert "\x1b]0" not in shown
    assert "It will not finish: 36 %" in tracker("show", runs_.id)
    past = tracker("show", over.id)
    assert "#SBATCH --mem=11G" in past
    assert "███░" in past
    queue = tracker("queue")
    assert "It will not finish: 36 %" in queue
    assert f"Slurm expects its start at {start_at:%Y-%m-%d %H:%M} UTC." in queue
    assert json.loads(tracker("show", over.id, "--json"))["efficiency"]["notes"]
