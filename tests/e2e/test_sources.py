"""What each source tells of jobs that are there now: Slurm's commands, and a slurmrestd that wants tokens."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab import slurmrestd
from lab.known_jobs import HOSTILE_NAMES
from tests.conftest import wait_until
from tests.e2e.conftest import Site
from tracker.errors import SlurmUnavailable
from tracker.settings import Settings
from tracker.slurm.choice import chosen
from tracker.slurm.commands import Commands
from tracker.slurm.rest import Rest
from tracker.slurm.slurmrestd import Slurmrestd
from tracker.slurm.source import Source

WAITING = ("-H", "--mem=20M", "--output=/dev/null")


@pytest.fixture(autouse=True)
def _as_of_the_cluster(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PATH", "SLURM_CONF"):
        monkeypatch.setenv(name, site.env[name])


@pytest.fixture
def jobs(site: Site) -> Iterator[dict[str, int]]:
    """Jobs that are held, an array of which one task runs, and one that has ended."""
    made = {
        name: site.sbatch("true", *WAITING, f"-J{words}", f"--comment={words}") for name, words in HOSTILE_NAMES.items()
    }
    made["of_bob"] = site.sbatch("true", *WAITING, user="bob")
    made["array"] = site.sbatch("sleep 600", "--array=0-4%1", "--mem=20M", "--output=/dev/null")
    made["ended"] = site.sbatch("exit 3", "--mem=20M", "--output=/dev/null")
    yield made
    site.as_root("scancel", *map(str, made.values()))


@pytest.fixture
def token(tmp_path: Path) -> Path:
    return tmp_path / "token"


@pytest.fixture(scope="module")
def address(site: Site) -> Iterator[str]:
    with slurmrestd.on_port(site.cluster) as found:
        yield found


def by_token(address: str, token: Path, user: str = slurmrestd.OWNER) -> Rest:
    return Rest(Slurmrestd(address, token_file=str(token), user=user, timeout_s=60).get)


@pytest.mark.parametrize("name", ["commands", "slurmrestd"])
def test_a_source_tells_what_is_there_now(
    site: Site, jobs: dict[str, int], address: str, token: Path, name: str
) -> None:
    token.write_text(slurmrestd.token(site.cluster))
    source: Source = Commands(timeout_s=60) if name == "commands" else by_token(address, token)
    facts = source.facts()
    assert (facts.name, facts.slurm_version) == (site.cluster.at.name, site.as_root("sinfo", "--version").split()[1])
    assert {node.name for node in source.nodes()} == set(site.cluster.nodes)
    ended = wait_until(lambda: [one for one in source.records([jobs["ended"]]) if one.ended_at], what="the job's end")
    assert [one.state for one in ended] == ["FAILED"]  # type: ignore[attr-defined]
    _check_queue(source, jobs)


def _check_queue(source: Source, jobs: dict[str, int]) -> None:
    def array() -> list[tuple[int | None, str | None]] | None:
        tasks = [(job.array_task_id, job.state) for job in source.queue() if job.array_job_id == jobs["array"]]
        return sorted(tasks) if (0, "RUNNING") in tasks else None  # type: ignore[type-var]

    waiting = [(number, "PENDING") for number in range(1, 5)]
    assert wait_until(array, what="a task runs") == [(0, "RUNNING"), *waiting]
    told = {job.job_id: job for job in source.queue()}
    for name, words in HOSTILE_NAMES.items():
        job = told[jobs[name]]
        assert (job.name, job.comment, job.user, job.state, job.reason) == (
            words,
            words,
            "alice",
            "PENDING",
            "JobHeldUser",
        )
    assert told[jobs["of_bob"]].user == "bob"
    assert {job.user for job in source.queue(user="bob")} == {"bob"}


@pytest.mark.parametrize(
    "spoil",
    [
        lambda good: f"{good[:-8]}AAAAAAAA",
        lambda good: "no token",
    ],
    ids=["forged", "none"],
)
def test_a_token_that_is_not_valid_is_told_in_one_sentence(
    site: Site, address: str, token: Path, spoil: Callable[[str], str]
) -> None:
    good = slurmrestd.token(site.cluster)
    token.write_text(spoil(good))
    rest = by_token(address, token)
    with pytest.raises(SlurmUnavailable, match="refuses the token"):
        rest.queue()
    token.write_text(good)
    assert isinstance(rest.queue(), list)  # renewed in its place
    with pytest.raises(SlurmUnavailable, match="is not bob's"):
        by_token(address, token, user="bob").queue()


def test_a_token_that_has_expired_is_told_and_auto_asks_commands(site: Site, address: str, token: Path) -> None:
    token.write_text(slurmrestd.token(site.cluster, lifespan_s=1))
    time.sleep(2)
    with pytest.raises(SlurmUnavailable, match="has expired"):
        by_token(address, token).queue()
    auto = chosen(Settings(slurmrestd=address, slurmrestd_token_file=str(token), slurmrestd_user="alice"))
    assert auto.name == "commands"
    assert auto.facts().name == site.cluster.at.name
