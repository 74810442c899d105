"""How well a job used what it held: figures from accounting and samples, and advice only where the evidence is good."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from sqlalchemy.orm import Session

from tests.web import samples
from tracker.actions.efficiency import Efficiency, as_size, efficiency
from tracker.store import attempts, runs, usages, writers
from tracker.store.database import Database
from tracker.store.identity import Identity
from tracker.store.tables import Run

GIB = 1024**3
ADMIN = Identity("root", "admin")


def ran(session: Session, *, took_s: float = 3600, state: str = "COMPLETED", **facts: Any) -> Run:
    """A run that held 16 cores, 64 GiB and two GPUs of one node for an hour, of the eight that it asked for."""
    told = {"time_limit_s": 8 * 3600, "gpus": {"n1": [0, 1]}} | facts
    age_s = took_s + 60
    return samples.add_run(session, state=state, age_s=age_s, took_s=took_s if state != "RUNNING" else None, **told)


def hold(session: Session, run: Run, **more: Any) -> None:
    assert run.started_at is not None
    told = {"cpus": 16, "memory_bytes": 64 * GIB, "nodes": 1, "ended": run.ended_at is not None} | more
    usages.hold(session, [usages.Held(run.id, run.started_at, **told)])


def sampled(session: Session, run: Run, count: int = 240, **means: float) -> None:
    """Samples of the machine, every 15 s until the end; by the end of the metric's name."""
    names = {
        "cpu": "system/cpu.percent", "memory": "system/memory_bytes", "gpu0": "system/gpu.0.utilization_percent",
        "gpu1": "system/gpu.1.utilization_percent",
    }  # fmt: skip
    for name, mean in means.items():
        values = [mean * (0.9 + 0.2 * (step % 2)) for step in range(count)]
        samples.log(session, run, names[name], values, every_s=15, kind=writers.MACHINE)


def told(db: Database, run: Run) -> Efficiency:
    with db.read() as session:
        found = efficiency(session, runs.get(session, ADMIN, run.id), datetime.now(timezone.utc))
    assert found is not None
    return found


def test_a_job_that_asked_for_too_much_is_told_what_would_have_been_enough(db: Database) -> None:
    with db.write() as session:
        run = ran(session)
        hold(session, run)
        sampled(session, run, cpu=300, memory=9 * GIB, gpu0=80, gpu1=0)
        usages.keep(session, [usages.Used(run.id, 3 * 3600, 8 * GIB)])
    found = told(db, run)
    assert found.busy_cpus == pytest.approx(3.0)
    assert found.cpu_percent == pytest.approx(100 * 3 / 16)
    assert found.memory_bytes == pytest.approx(9.9 * GIB)
    assert found.sources == {"cpu": "accounting", "memory": "agent"}
    assert found.sampled_percent == pytest.approx(100, abs=1)
    assert found.lines == [
        "#SBATCH --mem=12G", "#SBATCH --cpus-per-task=4", "#SBATCH --gres=gpu:1", "#SBATCH --time=01:15:00",
    ]  # fmt: skip
    assert found.notes == [
        "GPU 1 of the 2 that it held did nothing all the time.",
        "--mem takes the place of --mem-per-cpu and --mem-per-gpu: sbatch takes one of them.",
        "--cpus-per-task is meant for one task: divide it among more (--ntasks).",
        "--gres takes the place of --gpus and the like; keep the GPUs' type if it names one.",
    ]


def test_cores_are_divided_among_tasks(db: Database) -> None:
    """Three cores busy: that is one for each of four tasks, and two for two. Sixteen tasks have no core to spare."""
    lines = {}
    for tasks in (2, 4, 16):
        with db.write() as session:
            run = ran(session, time_limit_s=4000)
            hold(session, run, tasks=tasks)
            hold(session, run)  # accounting does not tell them, and what is known stays
            sampled(session, run, cpu=300, memory=9 * GIB)
        found = told(db, run)
        assert found.tasks == tasks
        lines[tasks] = [line for line in found.lines if "cpus" in line]
        assert not any("--cpus-per-task" in note for note in found.notes)
    assert lines == {2: ["#SBATCH --cpus-per-task=2"], 4: ["#SBATCH --cpus-per-task=1"], 16: []}


def test_fewer_cores_bring_no_less_memory(db: Database) -> None:
    """With --mem-per-cpu, or where the cluster gives memory by cores, a quarter of the cores has a quarter of it."""
    with db.write() as session:
        run = ran(session, time_limit_s=4000)
        hold(session, run)
        sampled(session, run, cpu=300, memory=50 * GIB)
        unmeasured = ran(session, time_limit_s=4000)
        hold(session, unmeasured)
        sampled(session, unmeasured, cpu=300)
    assert told(db, run).lines == ["#SBATCH --mem=64G", "#SBATCH --cpus-per-task=4"]
    assert list(told(db, unmeasured).lines) == []


def test_a_node_that_nobody_watched_may_have_needed_more(db: Database) -> None:
    nodes = [f"n{number}" for number in range(1, 11)]
    with db.write() as session:
        run = ran(session, time_limit_s=4000, gpus={node: [0] for node in nodes})
        hold(session, run, cpus=160, memory_bytes=640 * GIB, nodes=10)
        for node in nodes[1:]:
            for metric, value in (("cpu.percent", 100.0), ("memory_bytes", 4.0 * GIB)):
                samples.log(
                    session, run, f"system/{metric}", [value] * 240, every_s=15, node=node, kind=writers.MACHINE
                )
    found = told(db, run)
    assert found.sampled_percent == pytest.approx(90, abs=1)
    assert (found.memory_bytes, list(found.lines)) == (4 * GIB, [])
    with db.write() as session:
        for metric, value in (("cpu.percent", 100.0), ("memory_bytes", 40.0 * GIB)):
            samples.log(session, run, f"system/{metric}", [value] * 240, every_s=15, kind=writers.MACHINE)
    assert told(db, run).lines == ["#SBATCH --mem=48G"]


def test_the_time_in_which_it_was_suspended_is_none_of_its_own(db: Database) -> None:
    with db.write() as session:
        run = ran(session, took_s=7200)
        (attempt,) = attempts.of(session, run.id)
        attempt.suspended_s = 3600
        hold(session, run)
        usages.keep(session, [usages.Used(run.id, 8 * 3600, 40 * GIB)])
    found = told(db, run)
    assert (found.elapsed_s, found.busy_cpus) == (3600, 8)
    assert found.lines[-1] == "#SBATCH --time=01:15:00"


def test_the_lines_of_a_task_are_not_those_of_its_array(db: Database) -> None:
    with db.write() as session:
        run = ran(session, array_job_id=7, array_task_id=3)
        hold(session, run)
    assert list(told(db, run).notes) == ["Other tasks of its array may need more."]


def test_a_job_that_used_what_it_held_needs_no_advice(db: Database) -> None:
    with db.write() as session:
        run = ran(session, time_limit_s=4000)
        hold(session, run)
        sampled(session, run, cpu=1450, memory=50 * GIB, gpu0=85, gpu1=90)
    found = told(db, run)
    assert (list(found.lines), list(found.notes)) == ([], [])
    assert found.sources == {"cpu": "agent", "memory": "agent"}
    assert found.gpu_percent == pytest.approx(87.5)


def test_thin_evidence_is_shown_and_no_advice_given(db: Database) -> None:
    with db.write() as session:
        seen_late = ran(session)
        hold(session, seen_late)
        sampled(session, seen_late, count=60, cpu=100, memory=GIB, gpu0=0, gpu1=0)
        short = ran(session, took_s=100)
        hold(session, short)
        sampled(session, short, count=7, cpu=100, memory=GIB)
        failed = ran(session, state="FAILED")
        hold(session, failed)
        sampled(session, failed, cpu=100, memory=GIB)
        unseen = ran(session, time_limit_s=3700)
        hold(session, unseen)
    found = told(db, seen_late)
    assert found.sampled_percent == pytest.approx(25, abs=1)
    assert (list(found.lines), list(found.notes)) == (["#SBATCH --time=01:15:00"], [])
    assert [list(told(db, run).lines) for run in (short, failed, unseen)] == [[], [], []]
    assert (told(db, unseen).sampled_percent, told(db, unseen).sources) == (None, {})


def test_advice_is_never_below_what_was_used(db: Database) -> None:
    """The agent's samples missed the moment in which accounting saw it, and the cores it used for a moment."""
    with db.write() as session:
        run = ran(session)
        hold(session, run)
        sampled(session, run, memory=4 * GIB)
        values = [100.0] * 239 + [1100.0]
        samples.log(session, run, "system/cpu.percent", values, every_s=15, kind=writers.MACHINE)
        usages.keep(session, [usages.Used(run.id, 3600, 30 * GIB)])
    found = told(db, run)
    assert found.sources["memory"] == "accounting"
    assert found.lines[:2] == ["#SBATCH --mem=36G", "#SBATCH --cpus-per-task=11"]


def test_idle_gpus_are_warned_of(db: Database) -> None:
    with db.write() as session:
        idle, waits_for_data = ran(session), ran(session)
        for run, busy in ((idle, 0.0), (waits_for_data, 9.0)):
            hold(session, run)
            sampled(session, run, cpu=1500, memory=60 * GIB, gpu0=busy, gpu1=busy)
    assert told(db, idle).notes[0] == "Its GPUs did nothing all the time: does it need any?"
    assert "computed 9 % of the time" in told(db, waits_for_data).notes[0]
    assert not any("gres" in line for line in told(db, idle).lines)


def test_a_job_that_runs_shows_its_use_so_far(db: Database) -> None:
    with db.write() as session:
        run = ran(session, state="RUNNING", took_s=600)
        hold(session, run)
        sampled(session, run, count=30, cpu=800, memory=32 * GIB)
    found = told(db, run)
    assert found.cpu_percent == pytest.approx(50)
    assert found.memory_percent == pytest.approx(55)
    assert list(found.lines) == []


def test_samples_of_two_nodes_count_for_both(db: Database) -> None:
    with db.write() as session:
        run = ran(session, gpus={"n1": [0], "n2": [0]})
        hold(session, run, cpus=32, memory_bytes=128 * GIB, nodes=2)
        for node, count in (("n1", 240), ("n2", 120)):
            samples.log(
                session, run, "system/cpu.percent", [800.0] * count, every_s=15, node=node, kind=writers.MACHINE
            )
    found = told(db, run)
    assert found.cpu_percent == pytest.approx(50)
    assert found.sampled_percent == pytest.approx(75, abs=1)
    assert found.requested_memory_bytes == 64 * GIB


def test_what_a_script_made_up_does_no_harm(db: Database) -> None:
    with db.write() as session:
        run = ran(session)
        hold(session, run)
        for name, value in (("system/cpu.percent", 1e308), ("system/memory_bytes", -5.0)):
            samples.log(session, run, name, [value, value])
        samples.log(session, run, "system/gpu.99999999.utilization_percent", [1.0])
        samples.log(session, run, "system/gpu.7.utilization_percent", [float("inf"), float("nan")])
    found = told(db, run)
    assert (found.busy_cpus, found.memory_bytes, list(found.gpus)) == (None, None, [])


def test_a_new_attempt_begins_anew(db: Database) -> None:
    with db.write() as session:
        run = ran(session)
        hold(session, run)
        usages.keep(session, [usages.Used(run.id, 3600, GIB)])
        hold(session, run)  # told again: nothing changes
        assert run.started_at is not None
        later = run.started_at + timedelta(minutes=30)
        usages.hold(session, [usages.Held(run.id, later, 8, GIB, 1, ended=True)])
        assert [one.run_id for one in usages.due(session, "dev", samples.moment(-60), 10)] == [run.id]


@pytest.mark.parametrize(
    ("used", "size"),
    [(100 << 20, 128 << 20), (GIB, GIB), (1.1 * GIB, 2 * GIB), (17 * GIB, 18 * GIB), (70 * GIB, 72 * GIB)],
)
def test_sizes_are_those_that_people_write(used: float, size: int) -> None:
    assert as_size(used) == size
