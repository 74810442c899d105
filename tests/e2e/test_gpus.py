"""Who had which GPU, and GPU-hours, beside what Slurm's accounting says."""

from __future__ import annotations

import re
import time
from datetime import datetime, timezone
from typing import Any

import pytest

from tests.conftest import wait_until
from tests.e2e.conftest import Site


def sacct_gpu_s(site: Site) -> dict[str, int]:
    """Seconds of GPUs by user: AllocTRES gres/gpu times Elapsed of every attempt of every job."""
    words = ["sacct", "-a", "-X", "-D", "-n", "-P", "-S", "now-1day", "-o", "User,AllocTRES,ElapsedRaw"]
    found: dict[str, int] = {}
    for row in site.as_root(*words).splitlines():
        user, held, elapsed_s = row.split("|")
        gpus = re.search(r"gres/gpu=(\d+)", held)
        if gpus:
            found[user] = found.get(user, 0) + int(gpus[1]) * int(elapsed_s)
    return found


def holders(site: Site, **asked: Any) -> list[tuple[str, int, int]]:
    """Node, index and job of who has a GPU now."""
    at = f"{datetime.now(timezone.utc):%Y-%m-%dT%H:%M:%SZ}"
    found = site.api(f"/gpus?cluster={site.cluster.at.name}&at={at}")["items"]
    return sorted((one["node"], one["index"], one["job_id"]) for one in found)


def doings(site: Site, job: int) -> list[str]:
    told = site.api(f"/runs/{site.cluster.at.name}:{job}/timeline")
    return [one["doing"] for one in told["spans"] if one["doing"] != "pending"]


def test_gpu_hours_agree_with_sacct_and_who_has_a_gpu_with_the_controller(site: Site) -> None:
    wide = site.sbatch("sleep 15", "-N2", "--gres=gpu:1")
    paused = site.sbatch("sleep 15", "--gres=gpu:1", "--nodelist=test-n1")
    again = site.sbatch("sleep 6", "--gres=gpu:1", "--requeue", "--nodelist=test-n2")
    for job in (wide, paused, again):
        site.await_state(job, "RUNNING")
    wait_until(lambda: {job for *_, job in holders(site)} >= {wide, paused, again}, what="who has a GPU")
    mine = [one for one in holders(site) if one[2] in (wide, paused, again)]
    assert [node for node, *_ in mine] == ["test-n1"] * 2 + ["test-n2"] * 2
    assert len({(node, index) for node, index, _ in mine}) == 4
    used = ("squeue", "-h", "-o", "%M", "-j", str(paused))
    wait_until(lambda: site.as_root(*used).strip() >= "0:02", what="a time to be seen before the suspension")
    site.as_root("scontrol", "suspend", str(paused))
    site.as_root("scontrol", "requeue", str(again))
    site.await_state(paused, "SUSPENDED")
    site.await_state(again, "PENDING", "RUNNING")
    time.sleep(4)  # a time to be counted apart
    assert paused in {job for *_, job in holders(site)}
    site.as_root("scontrol", "resume", str(paused))
    for job in (wide, paused, again):
        site.await_truth(job)
    site.await_truth(again)
    assert doings(site, paused) == ["running", "suspended", "running"]
    assert doings(site, again) == ["running", "running"]
    told = site.api("/gpu-hours?by=user")
    by_user = {one["key"]: one["gpu_hours"] * 3600 for one in told["items"]}
    expected = sacct_gpu_s(site)
    assert by_user["alice"] == pytest.approx(expected["alice"], rel=0.01)
    assert told["total"]["gpu_hours"] * 3600 == pytest.approx(sum(expected.values()), rel=0.01)
    assert told["total"]["suspended_gpu_hours"] * 3600 >= 3
    states = {one["key"] for one in site.api("/gpu-hours?by=state")["items"]}
    assert states >= {"COMPLETED", "REQUEUED"}
