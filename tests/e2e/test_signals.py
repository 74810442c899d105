"""A job that Slurm warns before its time limit saves its work, and knows how long it has."""

from __future__ import annotations

from functools import partial

from tests.conftest import wait_until
from tests.e2e.conftest import Site

SAVES = """
import sys, time, tracker
saved = []
tracker.on_signal(lambda number: saved.append(number))
for step in range(600):
    tracker.log({"loss": 1 / (step + 1)}, step=step)
    if saved:
        tracker.log({"saved at": step, "time left": tracker.time_left()}, step=step)
        sys.exit(0)
    time.sleep(0.1)
"""


def _is_told(site: Site, job: int) -> bool:
    return "saved at" in (site.run(job) or {}).get("summary", {})


def test_a_checkpoint_is_saved_when_slurm_warns_of_the_limit(site: Site) -> None:
    of_the_script = site.sbatch(f"exec python -c '{SAVES}'", "--time=1", "--signal=B:USR1@35")
    of_the_steps = site.sbatch(f"srun python -c '{SAVES}'", "--time=1", "--signal=USR1@35")
    for job in (of_the_script, of_the_steps):
        run = site.await_truth(job, within_s=180)
        assert run["state"] == "COMPLETED"
        wait_until(partial(_is_told, site, job), what="what the handler logged")
        summary = (site.run(job) or {})["summary"]
        assert summary["loss"]["count"] == summary["saved at"]["last"] + 1
        assert 0 < summary["time left"]["last"] < 60
