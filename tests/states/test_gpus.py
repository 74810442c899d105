"""GPUs as each version of Slurm tells of them: shares of one, and those of a het job's components."""

from __future__ import annotations

import re
from typing import Any

from tests.conftest import wait_until
from tests.states.stage import PATIENCE_S, Stage

WAITS = "until [ -e {} ]; do sleep 0.2; done"


def told_by_sacct(stage: Stage, job: int, what: str) -> int:
    """How many of a resource the components of a job held, by their records."""
    found = stage.as_root("sacct", "-XnP", "-j", str(job), "-o", "AllocTRES")
    return sum(map(int, re.findall(rf"gres/{what}=(\d+)", found)))


def held(run: dict[str, Any]) -> list[tuple[str, int]]:
    """Node and index of the GPUs of its only attempt."""
    (attempt,) = run["attempts"]
    return [(one["node"], one["index"]) for one in attempt["gpus"]]


def test_two_jobs_that_share_a_gpu_both_have_it(stage: Stage) -> None:
    node, flag = stage.cluster.nodes[0], stage.flag("shared")
    jobs = [stage.submit(WAITS.format(flag), "--gres=shard:2", node=node) for _ in range(2)]
    for job in jobs:
        stage.until(job, "RUNNING")

    def both_hold_it() -> bool:
        holders = stage.api(f"/gpus?cluster={stage.cluster.at.name}&node={node}&index=0")["items"]
        told = {(one["job_id"], one["shards"], one["to"]) for one in holders}
        return told == {(job, 2, None) for job in jobs}

    wait_until(both_hold_it, PATIENCE_S, 0.5, "who shares the GPU")
    flag.touch()
    for job in jobs:
        stage.until_told((job, None))
        run = stage.run_of((job, None))
        assert held(run) == [(node, 0)]
        (attempt,) = run["attempts"]
        assert (attempt["shards"], attempt["gpu_count"]) == (2, 0)
        assert (told_by_sacct(stage, job, "shard"), told_by_sacct(stage, job, "gpu")) == (2, 0)
    assert stage.api("/gpu-hours")["total"]["shard_hours"] > 0


def test_the_gpus_of_all_components_of_a_het_job_are_its_own(stage: Stage) -> None:
    first, second = (stage.small(node) for node in stage.cluster.nodes[:2])
    job = stage.sbatch("srun --het-group=0,1 true", *first, "--gres=gpu:1", ":", *second, "--gres=gpu:1")
    stage.until_told((job, None))
    wait_until(lambda: len(held(stage.run_of((job, None)))) == 2, PATIENCE_S, what="its GPUs are known")
    run = stage.run_of((job, None))
    assert held(run) == [(node, 0) for node in stage.cluster.nodes[:2]]
    assert run["attempts"][0]["gpu_count"] == told_by_sacct(stage, job, "gpu") == 2
