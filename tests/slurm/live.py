"""What a source must tell of jobs that are there now, on any live cluster."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from lab.known_jobs import HOSTILE_NAMES
from tests.conftest import wait_until
from tests.e2e.conftest import Site
from tracker.slurm.source import Source


@contextmanager
def jobs_of_each_kind(site: Site, *where: str) -> Iterator[dict[str, int]]:
    """Jobs that are held, an array of which one task runs, and one that has ended; `where` are words of sbatch."""
    small = (*where, "--mem=20M", "--output=/dev/null")
    made = {
        name: site.sbatch("true", "-H", *small, f"-J{words}", f"--comment={words}")
        for name, words in HOSTILE_NAMES.items()
    }
    made["of_bob"] = site.sbatch("true", "-H", "--ntasks=2", *small, user="bob")
    made["array"] = site.sbatch("sleep 600", "--array=0-4%1", *small)
    made["ended"] = site.sbatch("exit 3", *small)
    try:
        yield made
    finally:
        site.as_root("scancel", *map(str, made.values()))


def check(source: Source, site: Site, jobs: dict[str, int]) -> None:
    """Fail unless the source tells the truth of cluster, nodes, queue and accounting."""
    facts = source.facts()
    assert (facts.name, facts.slurm_version) == (site.cluster.at.name, site.as_root("sinfo", "--version").split()[1])
    assert {node.name for node in source.nodes()} == set(site.cluster.nodes)
    ended = wait_until(lambda: [one for one in source.records([jobs["ended"]]) if one.ended_at], what="the job's end")
    assert [one.state for one in ended] == ["FAILED"]  # type: ignore[attr-defined]
    _check_array(source, jobs["array"])
    told = {job.job_id: job for job in source.queue()}
    for name, words in HOSTILE_NAMES.items():
        job = told[jobs[name]]
        assert (job.name, job.comment, job.user) == (words, words, "alice")
        assert (job.state, job.reason) == ("PENDING", "JobHeldUser")
    assert (told[jobs["of_bob"]].user, told[jobs["of_bob"]].tasks) == ("bob", 2)
    assert {job.user for job in source.queue(user="bob")} == {"bob"}


def _check_array(source: Source, array: int) -> None:
    def first_runs() -> Sequence[tuple[int | None, str | None]] | None:
        tasks = [(job.array_task_id, job.state) for job in source.queue() if job.array_job_id == array]
        return sorted(tasks) if (0, "RUNNING") in tasks else None  # type: ignore[type-var]

    waiting = [(number, "PENDING") for number in range(1, 5)]
    assert wait_until(first_runs, what="a task runs") == [(0, "RUNNING"), *waiting]
