"""How jobs are interrupted and begin again. These stories are played at once, some on a node of their own."""

from __future__ import annotations

from tests.conftest import wait_until
from tests.states.ends import FOR_EVER
from tests.states.stage import Stage
from tests.states.story import Stories
from tests.states.truth import Ending

ATTEMPTS = Stories()
ENDS_AT_RESTART = '[ "${SLURM_RESTART_COUNT:-0}" -ge %d ] || exec sleep 900'
WHOLE_MEMORY = "--mem=5900M"


@ATTEMPTS.add("NODE_FAIL, requeued")
def node_failed_requeued(stage: Stage) -> Ending:
    with stage.own_node() as node:
        job = stage.submit(ENDS_AT_RESTART % 1, "--requeue", node=node)
        stage.until(job, "RUNNING")
        with stage.lost(node):
            stage.until(job, "PENDING")
        stage.until_told((job, None))
    return Ending(job, ["NODE_FAIL", "COMPLETED"])


@ATTEMPTS.add("NODE_FAIL, not requeued")
def node_failed(stage: Stage) -> Ending:
    with stage.own_node() as node:
        job = stage.submit(FOR_EVER, "--no-requeue", node=node)
        stage.until(job, "RUNNING")
        with stage.lost(node):
            assert stage.until_told((job, None)).state == "NODE_FAIL"
    return Ending(job, ["NODE_FAIL"])


@ATTEMPTS.add("PREEMPTED, requeued")
def preempted_requeued(stage: Stage) -> Ending:
    with stage.own_node() as node:
        job = stage.submit(ENDS_AT_RESTART % 1, "--partition=low", "--requeue", WHOLE_MEMORY, node=node)
        stage.until(job, "RUNNING")
        stage.submit("true", "--partition=high", WHOLE_MEMORY, node=node)
        stage.until_told((job, None))
    return Ending(job, ["PREEMPTED", "COMPLETED"])


@ATTEMPTS.add("PREEMPTED, cancelled")
def preempted_cancelled(stage: Stage) -> Ending:
    with stage.own_node() as node:
        job = stage.submit(FOR_EVER, "--partition=lowc", WHOLE_MEMORY, node=node)
        stage.until(job, "RUNNING")
        stage.submit("true", "--partition=high", WHOLE_MEMORY, node=node)
        stage.until_told((job, None))
    return Ending(job, ["PREEMPTED"])


@ATTEMPTS.add("Preempted by SUSPENDED, then goes on")
def preempted_suspended(stage: Stage) -> Ending:
    flag, other = stage.flag("preempted"), stage.flag("preempting")
    with stage.own_node() as node:
        job = stage.submit(f"until [ -e {flag} ]; do sleep 0.2; done", "--partition=lows", "-c8", node=node)
        stage.until(job, "RUNNING")
        stage.submit(f"until [ -e {other} ]; do sleep 0.2; done", "--partition=high", "-c8", node=node)
        stage.until(job, "SUSPENDED")
        other.touch()
        stage.until(job, "RUNNING")
        flag.touch()
        stage.until_told((job, None))
    return Ending(job, ["COMPLETED"])


@ATTEMPTS.add("Requeued by `scontrol requeue`")
def requeued_once(stage: Stage) -> Ending:
    return _requeued(stage, times=1)


@ATTEMPTS.add("Requeued three times")
def requeued_three_times(stage: Stage) -> Ending:
    return _requeued(stage, times=3)


def _requeued(stage: Stage, times: int) -> Ending:
    job = stage.submit(ENDS_AT_RESTART % times, "--requeue")
    for restarts in range(times):
        stage.until(job, "RUNNING", restarts=restarts)
        stage.as_root("scontrol", "requeue", str(job))
    return Ending(job, [*["REQUEUED"] * times, "COMPLETED"])


@ATTEMPTS.add("Requeued and held, then released")
def requeued_and_held(stage: Stage) -> Ending:
    job = stage.submit(ENDS_AT_RESTART % 1, "--requeue")
    stage.until(job, "RUNNING")
    stage.as_root("scontrol", "requeuehold", str(job))
    stage.until(job, "PENDING", restarts=1)
    wait_until(lambda: [one["state"] for one in stage.run_of((job, None))["attempts"]] == ["REQUEUED"], 240)
    run = stage.run_of((job, None))
    assert (run["state"], run["ended_at"]) == ("PENDING", None)
    stage.as_root("scontrol", "release", str(job))
    return Ending(job, ["REQUEUED", "COMPLETED"])


@ATTEMPTS.add("The agent of its node dead, and back afterwards")
def agent_dead(stage: Stage) -> Ending:
    with stage.own_node() as node:
        stage.cluster.stop_agent(node)
        try:
            job = stage.submit("exit 2", "--gres=gpu:1", node=node)
            stage.until_told((job, None))
        finally:
            stage.cluster.start_agent(node)
        wait_until(lambda: stage.run_of((job, None))["attempts"][0]["gpus"], 240)
    return Ending(job, ["FAILED"], exit_code=2)
