"""Many tasks, steps and scripts: each job is one run, and none is lost in the crowd."""

from __future__ import annotations

from typing import Any

from tests.conftest import wait_until
from tests.e2e.conftest import Site

TASKS = 1000


def runs_of(site: Site, experiment: str) -> list[dict[str, Any]]:
    return all_runs(site, f"experiment={experiment}")


def all_runs(site: Site, query: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    cursor = ""
    while cursor is not None:
        page = site.api(f"/runs?{query}&limit=200{cursor and f'&cursor={cursor}'}")
        found += page["items"]
        cursor = page["next_cursor"]
    return found


def count_of(site: Site, job: int, metric: str) -> int:
    return ((site.run(job) or {}).get("summary") or {}).get(metric, {}).get("count", 0)


def rows_of(site: Site, job: int) -> list[dict[str, Any]]:
    """All runs of an array, those that only the queue told of among them, too."""
    return [run for run in all_runs(site, f"q={job}") if run["array_job_id"] == job]


def test_an_array_that_starts_at_once_on_one_experiment(site: Site) -> None:
    task = "int(os.environ['SLURM_ARRAY_TASK_ID'])"
    code = f"import os, tracker; tracker.init(experiment='crowd'); tracker.log({{'task': {task}}})"
    job = site.sbatch(f'exec python -c "{code}"', f"--array=0-{TASKS - 1}", "--mem=40M", "--output=/dev/null")
    # A hook may tell of a task before the queue does, and the other way round: for a moment there are two.

    def are_completed() -> bool:
        found = runs_of(site, "crowd")
        return (
            len([run for run in found if run["state"] == "COMPLETED" and run["state_source"] == "accounting"]) == TASKS
        )

    wait_until(are_completed, within_s=400, pause_s=2, what="all tasks are completed runs")
    wait_until(lambda: len(rows_of(site, job)) == TASKS, within_s=60, what="each task is one run")
    found = runs_of(site, "crowd")
    assert sorted(run["array_task_id"] for run in found) == list(range(TASKS))
    assert {run["array_job_id"] for run in found} == {job}
    wait_until(lambda: all(run["summary"].get("task") for run in runs_of(site, "crowd")))
    for run in runs_of(site, "crowd"):
        assert (run["summary"]["task"]["last"], run["summary"]["task"]["count"]) == (run["array_task_id"], 1)


def test_scripts_one_after_another_in_a_job_are_one_run(site: Site) -> None:
    script = "\n".join(f"python -c 'import tracker; tracker.log({{\"x\": {number}}}, {number})'" for number in range(3))
    job = site.sbatch(script)
    run = site.await_truth(job)
    assert run["state"] == "COMPLETED"
    wait_until(lambda: count_of(site, job, "x") == 3)


def test_many_steps_in_a_job_are_one_run(site: Site) -> None:
    steps = "for s in 1 2 3 4 5 6; do srun --ntasks=2 --nodes=2 tracker log rank=$s --step $s & done; wait"
    job = site.sbatch(steps, "--nodes=2", "--ntasks=12", "--mem-per-cpu=20M")
    assert site.await_truth(job)["state"] == "COMPLETED"
    wait_until(lambda: count_of(site, job, "rank") == 12)


def test_srun_of_many_tasks_without_a_batch_script(site: Site) -> None:
    words = ["srun", "--nodes=2", "--ntasks=4", "--mem-per-cpu=20M", "bash", "-c"]
    answer = site.cluster.run_as("alice", [*words, "tracker log x=1 --step 0; echo $SLURM_JOB_ID"])
    assert answer.returncode == 0, answer.stderr
    (job,) = {int(word) for word in answer.stdout.split()}
    assert site.await_truth(job)["state"] == "COMPLETED"
    wait_until(lambda: count_of(site, job, "x") == 4)
