"""One run of many processes: each rank is told apart, and an attempt goes on where the one before it ended."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from tests.conftest import wait_until
from tests.e2e.conftest import Site

RANK = """
import os, tracker
rank = int(os.environ["SLURM_PROCID"])
for step in range(20):
    tracker.log({"loss": step + rank / 10}, step=step)
"""
# Saves each tenth step, and goes on from there.
RESUMES = """
import os, time, tracker
saved = os.environ["SAVED"]
first = int(open(saved).read()) if os.path.exists(saved) else 0
for step in range(first, 60):
    if step % 10 == 0:
        open(saved, "w").write(str(step))
    tracker.log({"loss": 1000 * tracker.current_run().attempt + step}, step=step)
    time.sleep(0.1)
os.remove(saved)
"""
COUNTS = """
import time, tracker
for _ in range(30):
    tracker.log({"x": tracker.current_run().attempt})
    time.sleep(0.1)
"""


def _count(site: Site, job: int, metric: str) -> int:
    return int(((site.run(job) or {}).get("summary") or {}).get(metric, {}).get("count", 0))


def test_eight_ranks_on_each_of_two_nodes_are_one_run(site: Site) -> None:
    job = site.sbatch(f"srun python -c '{RANK}'", "-N2", "-n16", "--ntasks-per-node=8")
    run = site.await_truth(job)
    assert run["state"] == "COMPLETED"
    wait_until(lambda: _count(site, job, "loss") == 320, what="all points of all ranks")
    every = site.series(run, "loss", rank="all")
    nodes = ["test-n1"] * 8 + ["test-n2"] * 8
    assert [(line["rank"], line["node"], line["attempt"]) for line in every["lines"]] == [
        (rank, node, 1) for rank, node in enumerate(nodes)
    ]
    for line in every["lines"]:
        assert line["x"] == list(range(20))
        assert line["y"] == [step + line["rank"] / 10 for step in range(20)]
    assert site.series(run, "loss")["y"] == list(range(20))
    mean = site.series(run, "loss", rank="mean")
    assert (mean["ranks"], mean["min"]) == (16, list(range(20)))
    assert mean["y"] == pytest.approx([step + 0.75 for step in range(20)])
    assert mean["max"] == pytest.approx([step + 1.5 for step in range(20)])
    summary = (site.run(job) or {})["summary"]["loss"]
    assert (summary["last"], summary["last_step"], summary["count"]) == (19, 19, 320)


def test_a_requeued_job_resumes_from_its_checkpoint_and_omitted_steps_count_on(site: Site) -> None:
    # In alice's home, which stays when a cluster goes: job ids begin again there.
    resuming = site.sbatch(f"export SAVED=saved-{uuid.uuid4().hex}\nexec python -c '{RESUMES}'", "--requeue")
    counting = site.sbatch(f"exec python -c '{COUNTS}'", "--requeue")
    wait_until(lambda: _count(site, resuming, "loss") > 35, what="some steps after a checkpoint")
    wait_until(lambda: _count(site, counting, "x") > 5)
    for job in (resuming, counting):
        site.as_root("scontrol", "requeue", str(job))
        site.await_state(job, "PENDING")
    for job in (resuming, counting):
        assert len(site.await_truth(job)["attempts"]) == 2
    wait_until(lambda: (site.run(resuming) or {})["summary"]["loss"]["last_step"] == 59)
    _resumed(site, site.run(resuming) or {})
    wait_until(lambda: site.series(site.run(counting) or {}, "x")["y"].count(2) == 30)
    found = site.series(site.run(counting) or {}, "x")
    first = found["y"].count(1)
    assert (found["x"], found["y"], found["hidden"]) == (list(range(first + 30)), [1] * first + [2] * 30, 0)


def _resumed(site: Site, run: dict[str, Any]) -> None:
    """Each step is shown once, from the checkpoint on as the second attempt logged it; all points are kept."""
    kept = site.series(run, "loss", attempts="all")
    first, second = kept["lines"]
    saved = int(second["x"][0])
    assert saved % 10 == 0
    assert (second["x"], second["y"]) == (list(range(saved, 60)), [2000 + step for step in range(saved, 60)])
    assert first["x"][-1] >= 35
    assert first["y"] == [1000 + step for step in first["x"]]
    shown = site.series(run, "loss")
    assert shown["x"] == list(range(60))
    assert shown["y"] == first["y"][:saved] + second["y"]
    assert shown["hidden"] == len(first["x"]) - saved
    assert kept["count"] == len(first["x"]) + len(second["x"]) == run["summary"]["loss"]["count"]
    assert (run["summary"]["loss"]["last"], run["summary"]["loss"]["last_step"]) == (2059, 59)
