"""A job read for people, on a real cluster: what one waits for, and how well one used what it held."""

from __future__ import annotations

import pytest

from tests.conftest import wait_until
from tests.e2e.conftest import Site

BUSY = "python3 -c 'import time\nx = bytearray(150_000_000)\nend = time.time() + 34\nwhile time.time() < end: pass'"


def test_a_job_that_waits_and_one_that_ended(site: Site) -> None:
    job = site.sbatch(BUSY, "--cpus-per-task=2", "--mem=1G", "--time=10")
    follows = site.sbatch("true", f"--dependency=afterok:{job}")
    site.await_state(job, "RUNNING")
    site.await_state(follows, "PENDING")

    def awaited() -> object:
        waiting = (site.run(follows) or {}).get("waiting")
        return waiting and waiting["awaited"]

    (one,) = wait_until(awaited, 60, what="what the second job waits for")  # type: ignore[misc]
    assert (one["job"], one["until"], one["state"]) == (f"{site.cluster.at.name}:{job}", "has ended well", "RUNNING")
    assert site.await_truth(follows)["state"] == "COMPLETED"

    def used() -> object:
        told = (site.run(job) or {}).get("efficiency")
        return told if told and told["sources"].get("cpu") == "accounting" else None

    found = wait_until(used, 60, what=f"what the first job used: {site.run(job)}")
    assert isinstance(found, dict)
    assert found["cpus"] == 2
    assert 0.1 < found["busy_cpus"] < 1.5  # the machine has other things to do
    assert found["requested_memory_bytes"] == 1 << 30
    assert 150_000_000 < found["memory_bytes"] < 400_000_000
    assert found["memory_percent"] == pytest.approx(100 * found["memory_bytes"] / (1 << 30))
    assert found["lines"] == []  # it took too short a time for advice
