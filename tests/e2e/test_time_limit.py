"""The time limit of a job, which takes Slurm a minute or more: it began with the first tests of ends."""

from __future__ import annotations

from tests.e2e.conftest import Site
from tests.e2e.test_ends import check_against_accounting


def test_a_job_at_its_time_limit(site: Site, job_with_a_limit: int) -> None:
    site.await_truth(job_with_a_limit, within_s=240)
    check_against_accounting(site, job_with_a_limit, "TIMEOUT")


def test_no_node_was_drained_by_all_this(site: Site) -> None:
    assert site.as_root("sinfo", "-h", "-R", "-o", "%n %E").strip() == ""
