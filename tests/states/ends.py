"""How jobs end by themselves, by people and by limits. These stories are played at once."""

from __future__ import annotations

import time

from tests.conftest import wait_until
from tests.states.stage import Stage
from tests.states.story import Stories
from tests.states.truth import ArrayEnding, Ending

ENDS = Stories()
FOR_EVER = "exec sleep 900"
IGNORES_TERM = "trap '' TERM; sleep 900"
EATS = "exec python3 -c 'x = bytearray(300_000_000); import time; time.sleep(5)'"


@ENDS.add("COMPLETED")
def completed(stage: Stage) -> Ending:
    return Ending(stage.submit("exit 0"), ["COMPLETED"])


@ENDS.add("TIMEOUT")
def timeout(stage: Stage) -> Ending:
    return Ending(stage.submit(FOR_EVER, "--time=1"), ["TIMEOUT"])


@ENDS.add("DEADLINE: it waited for a GPU until it could no longer end in time")
def deadline(stage: Stage) -> Ending:
    flag, gpu = stage.flag("deadline"), [f"--nodelist={stage.cluster.nodes[0]}", "--gres=gpu:1"]
    holder = stage.submit(f"until [ -e {flag} ]; do sleep 0.2; done", *gpu, "--partition=high")
    stage.until(holder, "RUNNING")
    job = stage.submit("true", *gpu, "--partition=low", "--time=1", "--deadline=now+65seconds")
    stage.until_told((job, None))
    flag.touch()
    return Ending(job, ["DEADLINE"])


@ENDS.add("FAILED by its exit code")
def failed(stage: Stage) -> Ending:
    return Ending(stage.submit("exit 3"), ["FAILED"], exit_code=3)


@ENDS.add("FAILED, killed by a signal")
def killed_by_a_signal(stage: Stage) -> Ending:
    return Ending(stage.submit("kill -SEGV $$"), ["FAILED"], signal=11)


@ENDS.add("FAILED: its output cannot be written, so it does not begin")
def not_launched(stage: Stage) -> Ending:
    return Ending(stage.submit("true", "--output=/nowhere/out"), ["FAILED"], signal=53)


@ENDS.add("OUT_OF_MEMORY")
def out_of_memory(stage: Stage) -> Ending:
    job = stage.submit(EATS, "--mem=60M")
    if not stage.cluster.memory.cgroups:  # nobody holds it to its limit then
        return Ending(job, ["COMPLETED"])
    return Ending(job, ["OUT_OF_MEMORY"], signal=125)


@ENDS.add("CANCELLED while it runs, by its owner")
def cancelled_by_owner(stage: Stage) -> Ending:
    job = stage.submit(FOR_EVER)
    stage.until(job, "RUNNING")
    stage.as_user("alice", "scancel", str(job))
    return Ending(job, ["CANCELLED"], canceller="by alice")


@ENDS.add("CANCELLED while it runs, by an administrator; it ignores SIGTERM and is killed")
def cancelled_by_administrator(stage: Stage) -> Ending:
    job = stage.submit(IGNORES_TERM, user="bob")
    stage.until(job, "RUNNING")
    stage.as_root("scancel", str(job))
    return Ending(job, ["CANCELLED"], canceller="by root")


@ENDS.add("CANCELLED while it waits, by its owner")
def cancelled_waiting_by_owner(stage: Stage) -> Ending:
    job = stage.submit(FOR_EVER, "--begin=now+1hour", user="bob")
    stage.until(job, "PENDING")
    stage.as_user("bob", "scancel", str(job))
    return Ending(job, ["CANCELLED"], canceller="by bob")


@ENDS.add("CANCELLED while it waits, by an administrator")
def cancelled_waiting_by_administrator(stage: Stage) -> Ending:
    job = stage.submit(FOR_EVER, "--hold")
    stage.until(job, "PENDING")
    stage.as_root("scancel", str(job))
    return Ending(job, ["CANCELLED"], canceller="by root")


@ENDS.add("An array, CANCELLED before any of its tasks started")
def cancelled_array(stage: Stage) -> ArrayEnding:
    job = stage.submit("true", "--array=5-7", "--begin=now+1hour")
    stage.until(job, "PENDING", task=7)
    stage.as_root("scancel", str(job))
    return ArrayEnding(job, dict.fromkeys(range(5, 8), "CANCELLED"))


@ENDS.add("Never started: what it depends on failed, and Slurm cancels it")
def never_started(stage: Stage) -> Ending:
    fails = stage.submit("exit 1")
    job = stage.submit("true", f"--dependency=afterok:{fails}", "--kill-on-invalid-dep=yes")
    return Ending(job, ["CANCELLED"])


@ENDS.add("SUSPENDED and resumed")
def suspended(stage: Stage) -> Ending:
    flag = stage.flag("suspended")
    job = stage.submit(f"until [ -e {flag} ]; do sleep 0.2; done")
    stage.until(job, "RUNNING")
    stage.as_root("scontrol", "suspend", str(job))
    stage.until(job, "SUSPENDED")
    stage.as_root("scontrol", "resume", str(job))
    stage.until(job, "RUNNING")
    flag.touch()
    return Ending(job, ["COMPLETED"])


@ENDS.add("`srun` without a batch script")
def srun(stage: Stage) -> Ending:
    answer = stage.cluster.run_as("alice", ["srun", *_shown(stage), "sh", "-c", "echo $SLURM_JOB_ID; exit 4"])
    return Ending(int(answer.stdout.split()[0]), ["FAILED"], exit_code=4)


@ENDS.add("`salloc` without a batch script")
def salloc(stage: Stage) -> Ending:
    answer = stage.cluster.run_as("alice", ["salloc", *_shown(stage), "sh", "-c", "echo $SLURM_JOB_ID; exit 6"])
    return Ending(int(answer.stdout.split()[0]), ["FAILED"], exit_code=6)


def _shown(stage: Stage) -> list[str]:
    return [word for word in stage.small() if not word.startswith("--output")]


@ENDS.add("Steps: one failed, the script did not")
def steps(stage: Stage) -> Ending:
    job = stage.submit("srun true; srun sh -c 'exit 7'; exit 0")
    wait_until(lambda: "FAILED" in stage.as_root("sacct", "-nP", "-j", f"{job}.1", "-o", "State"), 240)
    return Ending(job, ["COMPLETED"])


@ENDS.add("A job on two nodes")
def two_nodes(stage: Stage) -> Ending:
    return Ending(stage.submit("srun true", "--nodes=2", "--ntasks=2"), ["COMPLETED"])


@ENDS.add("A het job of two components is one run")
def het(stage: Stage) -> Ending:
    job = stage.submit("srun --het-group=0,1 true", "-n1", ":", *stage.small(), "-n1")
    wait_until(lambda: len({one.job_id for one in stage.records(job) if one.state == "COMPLETED"}) == 2, 240)
    assert stage.run(job + 1) is None
    return Ending(job, ["COMPLETED"])


@ENDS.add("An array with a throttle, `[7-99%4]`: each third task fails")
def throttled_array(stage: Stage) -> ArrayEnding:
    job = stage.submit("exit $((SLURM_ARRAY_TASK_ID % 3 == 0))", "--array=7-99%4")
    stage.until(job, "PENDING", "RUNNING", "COMPLETED", task=98)
    return ArrayEnding(job, {task: "COMPLETED" if task % 3 else "FAILED" for task in range(7, 100)})


@ENDS.add("An array of 1,000 tasks, 900 of them cancelled while they wait")
def array_of_a_thousand(stage: Stage) -> ArrayEnding:
    job = stage.submit("true", "--array=0-999%8", "--hold")
    stage.until(job, "PENDING", task=999)
    cancelled_s = time.time()
    stage.as_user("alice", "scancel", f"{job}_[100-999]")
    stage.as_user("alice", "scontrol", "release", str(job))
    never = range(100, 1000)
    states = {task: "CANCELLED" if task in never else "COMPLETED" for task in range(1000)}
    # Slurm tells nothing of tasks that were cancelled while others of their array waited.
    return ArrayEnding(job, states, untold=dict.fromkeys(never, cancelled_s))
