"""What befalls Slurm and the tracker themselves. These stories are played alone, one after the other."""

from __future__ import annotations

import time

from tests.conftest import wait_until
from tests.states.stage import Stage
from tests.states.story import Stories
from tests.states.truth import Ending

OUTAGES = Stories()
WAITS = "until [ -e {0} ]; do sleep 0.2; done; rm {0}"


@OUTAGES.add("Slurm calls no hooks")
def no_hooks(stage: Stage) -> Ending:
    with stage.without_hooks():
        job = stage.submit("exit 3", "--gres=gpu:1", node=stage.cluster.nodes[0])
        stage.until_told((job, None))
    assert stage.run_of((job, None))["attempts"][0]["gpus"] == []
    return Ending(job, ["FAILED"], exit_code=3)


@OUTAGES.add("slurmctld restarted: one job ends meanwhile, one after it")
def controller_restarted(stage: Stage) -> list[Ending]:
    flags = [stage.flag("while-it-is-away"), stage.flag("when-it-is-back")]
    jobs = [stage.submit(WAITS.format(flag)) for flag in flags]
    for job in jobs:
        stage.until(job, "RUNNING")
    stage.stop_slurmctld()
    flags[0].touch()
    wait_until(lambda: not flags[0].exists(), 240)
    stage.start_slurmctld()
    flags[1].touch()
    return [Ending(job, ["COMPLETED"]) for job in jobs]


@OUTAGES.add("slurmdbd down while a job ends")
def accounting_down(stage: Stage) -> Ending:
    flag = stage.flag("while-accounting-is-away")
    job = stage.submit(f"{WAITS.format(flag)}; exit 3")
    stage.until(job, "RUNNING")
    stage.stop_slurmdbd()
    try:
        flag.touch()
        shown = stage.until(job, "FAILED")
        assert shown.source == "controller"
    finally:
        stage.start_slurmdbd()
    return Ending(job, ["FAILED"], exit_code=3)


@OUTAGES.add("The server down for the whole job")
def server_down(stage: Stage) -> Ending:
    stage.cluster.stop_server()
    try:
        job = stage.submit("exit 3")
        wait_until(lambda: any(one.state == "FAILED" for one in stage.records(job)), 240)
    finally:
        stage.cluster.start_server()
    return Ending(job, ["FAILED"], exit_code=3, known_s=time.time())


@OUTAGES.add("A job id given again: slurmctld lost its memory and counts from 1")
def job_id_again(stage: Stage) -> Ending:
    stage.forget_jobs()
    since_s = int(time.time())
    before = ""
    while before != "COMPLETED":  # of an attempt that failed with its node the job with its id may be the next one
        job = stage.submit("exit 5")
        stage.sightings.until((job, None), lambda shown: shown.state == "FAILED" and shown.at_s >= since_s)
        older = [one.state for one in stage.records(job) if one.job_id == job and one.submitted_s < since_s]
        before = older[-1]
    ending = Ending(job, ["FAILED"], exit_code=5, since_s=since_s)
    found = stage.api(f"/runs?filter=job_id%20%3D%20{job}")["items"]
    assert [run["state"] for run in sorted(found, key=lambda run: run["submitted_at"])] == [before, "FAILED"]
    return ending
