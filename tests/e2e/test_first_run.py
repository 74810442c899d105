"""The walk: sbatch, hooks, library, agent, server, page, on a real Slurm."""

from __future__ import annotations

import time

from tests.conftest import wait_until
from tests.e2e.conftest import Site

SOON_S = 4  # by Slurm's clock, whose starts and ends are whole seconds
LOG_A_THOUSAND = "python -c \"import tracker; [tracker.log({'loss': 1/(i+1)}, step=i) for i in range(1000)]\""


def check_the_thousand(site: Site, job: int) -> None:
    run = site.await_truth(job)
    assert (run["state"], run["user"], run["exit_code"]) == ("COMPLETED", "alice", 0)
    series = site.series(run, "loss")
    assert series["count"] == 1000
    assert series["x"] == list(range(1000))
    assert series["y"] == [1 / (i + 1) for i in range(1000)]
    (attempt,) = run["attempts"]
    assert attempt["nodes"] == ["test-n2"]
    assert [(gpu["node"], gpu["index"]) for gpu in attempt["gpus"]] == [("test-n2", 0), ("test-n2", 1)]


def test_a_plain_job_is_seen_from_its_start_to_its_end(site: Site) -> None:
    job = site.sbatch(f"{LOG_A_THOUSAND}\nsleep 4", "--gres=gpu:2", "--nodelist=test-n2")
    running, seen_s = site.await_state(job, "RUNNING"), time.time()
    assert seen_s - float(site.accounting(job)[0][1]) < SOON_S, running
    wait_until(lambda: (site.run(job) or {})["summary"].get("loss", {}).get("count") == 1000)
    ended, seen_s = site.await_state(job, "COMPLETED"), time.time()
    assert seen_s - float(site.accounting(job)[0][2]) < SOON_S, ended
    check_the_thousand(site, job)


def test_a_job_that_lived_while_the_server_was_down_is_complete(site: Site) -> None:
    site.cluster.stop_server()
    try:
        job = site.sbatch(LOG_A_THOUSAND, "--gres=gpu:2", "--nodelist=test-n2")
        wait_until(lambda: site.accounting(job) and site.accounting(job)[0][0] == "COMPLETED")
    finally:
        site.cluster.start_server()
    # The watcher may know the end before the agents, who wait a little longer each time, have tried again.
    wait_until(lambda: ((site.run(job) or {}).get("summary") or {}).get("loss", {}).get("count") == 1000)
    check_the_thousand(site, job)


def test_an_agent_that_was_dead_catches_up(site: Site) -> None:
    site.cluster.stop_agent("test-n2")
    try:
        job = site.sbatch(LOG_A_THOUSAND, "--gres=gpu:2", "--nodelist=test-n2")
        assert site.await_truth(job)["state"] == "COMPLETED"  # the watcher knows without hooks
    finally:
        site.cluster.start_agent("test-n2")
    wait_until(lambda: (site.run(job) or {})["summary"].get("loss", {}).get("count") == 1000)
    check_the_thousand(site, job)


def test_the_output_is_shown_while_the_job_runs_and_after(site: Site) -> None:
    job = site.sbatch(
        "echo out of %j; echo err >&2; sleep 6; echo the end", "-o", "%x-%j.out", "-e", "%x-%j.err", "-J", "talk"
    )
    run = site.await_state(job, "RUNNING")
    wait_until(lambda: site.log(run) == "out of %j\n")
    wait_until(lambda: site.log(run, "stderr") == "err\n")
    site.await_truth(job)
    wait_until(lambda: site.log(run) == "out of %j\nthe end\n")


def test_a_job_that_prints_into_a_forbidden_file_leaks_nothing(site: Site) -> None:
    site.as_root("bash", "-c", "echo secret > /home/bob/secret; chmod 600 /home/bob/secret; chown bob /home/bob/secret")
    job = site.sbatch("ln -sf /home/bob/secret linked; sleep 2", "-o", "linked")
    run = site.await_truth(job)
    wait_until(lambda: site.output(run["id"]).get("problem"))
    assert "secret" not in site.log(run)


def test_submit_makes_a_job_from_a_template(site: Site) -> None:
    train = "import sys, tracker; tracker.log_params({'lr': sys.argv[2]}); tracker.log({'loss': 0.5}, step=0)"
    (written,) = [site.cluster.run_as("alice", ["tee", "train.py"], stdin=train)]
    assert written.returncode == 0
    words = ["tracker", "submit", "--template", "train", "--experiment", "mnist", "--set", "gpus=1"]
    dry = site.cluster.run_as("alice", [*words, "--dry-run", "--", "python", "train.py", "--lr", "0.1"])
    assert "exec python train.py --lr 0.1" in dry.stdout
    assert "#SBATCH --gres=gpu:1" in dry.stdout
    submitted = site.cluster.run_as("alice", [*words, "--", "python", "train.py", "--lr", "0.1"])
    assert submitted.returncode == 0, submitted.stderr
    job = submitted.stdout.split()[-1]
    assert site.await_truth(job)["state"] == "COMPLETED"
    wait_until(lambda: (site.run(job) or {})["summary"], what="what the script logged")
    run = site.run(job) or {}
    assert (run["state"], run["experiment"], run["name"], run["params"]) == (
        "COMPLETED",
        "mnist",
        "train",
        {"lr": "0.1"},
    )


def test_a_script_that_is_not_there_is_told_before_submission(site: Site) -> None:
    answer = site.cluster.run_as("alice", ["tracker", "submit", "--", "python", "nowhere.py"])
    assert answer.returncode == 1
    assert answer.stderr == "tracker: There is no script `nowhere.py` in /home/alice: is the path right?\n"
