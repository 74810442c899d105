"""What jobs of every shape logged belongs to their runs, whose ends are those of accounting (more: tests/states)."""

from __future__ import annotations

from tests.conftest import wait_until
from tests.e2e.conftest import Site


def check_against_accounting(site: Site, job: int | str, *states: str) -> None:
    """The run's attempts are accounting's records, and its state is the last one's."""
    run = site.await_truth(job)
    records = site.accounting(job)
    assert [row[0].split()[0] for row in records] == list(states)
    assert run["state"] == states[-1]
    assert [attempt["state"] for attempt in run["attempts"]] == list(states)
    assert [attempt["number"] for attempt in run["attempts"]] == list(range(1, len(states) + 1))


def test_a_requeued_job_goes_on_in_the_same_run(site: Site) -> None:
    script = (
        "exec python -c 'import time,tracker\n"
        "first = 30 if tracker.current_run().attempt > 1 else 0\n"
        'for i in range(first, 60): tracker.log({"x": i}, i); time.sleep(0.1)\''
    )
    job = site.sbatch(script, "--requeue", "--gres=gpu:1")
    wait_until(lambda: ((site.run(job) or {}).get("summary") or {}).get("x", {}).get("count", 0) >= 30)
    before = site.run(job) or {}
    site.as_root("scontrol", "requeue", str(job))
    site.await_state(job, "PENDING")
    site.await_truth(job)
    check_against_accounting(site, job, "REQUEUED", "COMPLETED")
    run = site.run(job) or {}
    assert run["id"] == before["id"]
    assert all(attempt["gpus"] for attempt in run["attempts"])
    assert site.series(run, "x")["x"][-1] == 59


def test_every_task_of_an_array_is_a_run(site: Site) -> None:
    job = site.sbatch(
        "t=$SLURM_ARRAY_TASK_ID; echo task $t; tracker log task=$t --step 0; [ $t != 2 ]",
        "--array=0-3%2",
    )
    ends = {task: site.await_truth(f"{job}_{task}") for task in range(4)}
    assert [ends[task]["state"] for task in range(4)] == ["COMPLETED", "COMPLETED", "FAILED", "COMPLETED"]
    for task, run in ends.items():
        assert (run["array_job_id"], run["array_task_id"]) == (job, task)
        wait_until(lambda task=task: (site.run(f"{job}_{task}") or {})["summary"].get("task", {}).get("last") == task)
    wait_until(lambda: site.log(ends[3]) == "task 3\n")
    mine = [run for run in site.api(f"/runs?q={job}")["items"] if run["array_job_id"] == job]
    assert len(mine) == 4


def test_two_nodes_are_one_run(site: Site) -> None:
    job = site.sbatch(
        "srun tracker log rank=$SLURM_PROCID --step 0", "--nodes=2", "--ntasks-per-node=2", "--gres=gpu:1"
    )
    check_against_accounting(site, job, "COMPLETED")
    wait_until(lambda: len((site.run(job) or {})["attempts"][0]["gpus"]) == 2)
    (attempt,) = (site.run(job) or {})["attempts"]
    assert attempt["nodes"] == ["test-n1", "test-n2"]
    assert [(gpu["node"], gpu["index"]) for gpu in attempt["gpus"]] == [("test-n1", 0), ("test-n2", 0)]
    wait_until(lambda: (site.run(job) or {})["summary"].get("rank", {}).get("count") == 4)


def test_a_heterogeneous_job_is_one_run(site: Site) -> None:
    components = "#SBATCH -n1 -w test-n1\n#SBATCH hetjob\n#SBATCH -n1 -w test-n2\n"
    job = site.sbatch(
        components + "srun --het-group=0,1 bash -c 'tracker log rank=$SLURM_PROCID --step 0; echo spool $TRACKER_SPOOL'"
    )
    run = site.await_truth(job)
    assert (run["state"], run["het_job_id"]) == ("COMPLETED", job)
    wait_until(lambda: (site.run(job) or {})["summary"].get("rank", {}).get("count") == 2)
    assert site.run(job + 1) is None
    wait_until(lambda: all(f"nodes/test-n{node}/spool/jobs/test.{job}" in site.log(run) for node in (1, 2)))
    wait_until(lambda: (site.run(job) or {})["attempts"][0]["nodes"] == ["test-n1", "test-n2"])


def test_srun_without_a_batch_script(site: Site) -> None:
    answer = site.cluster.run_as(
        "alice", ["srun", "bash", "-c", "tracker log x=1 --step 0; echo $SLURM_JOB_ID; exit 4"]
    )
    job = int(answer.stdout.split()[0])
    check_against_accounting(site, job, "FAILED")
    wait_until(lambda: (site.run(job) or {})["summary"].get("x"))
