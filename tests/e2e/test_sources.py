"""What each source tells of jobs that are there now: Slurm's commands, and a slurmrestd that wants tokens."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab import slurmrestd
from tests.e2e.conftest import Site
from tests.slurm import live
from tracker.errors import SlurmUnavailable
from tracker.settings import Settings
from tracker.slurm.choice import chosen
from tracker.slurm.commands import Commands
from tracker.slurm.rest import Rest
from tracker.slurm.slurmrestd import Slurmrestd


@pytest.fixture(autouse=True)
def _as_of_the_cluster(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PATH", "SLURM_CONF"):
        monkeypatch.setenv(name, site.env[name])


@pytest.fixture
def token(tmp_path: Path) -> Path:
    return tmp_path / "token"


@pytest.fixture(scope="module")
def address(site: Site) -> Iterator[str]:
    with slurmrestd.on_port(site.cluster) as found:
        yield found


def by_token(address: str, token: Path, user: str = slurmrestd.OWNER) -> Rest:
    return Rest(Slurmrestd(address, token_file=str(token), user=user, timeout_s=60).get)


def test_each_source_tells_what_is_there_now(site: Site, address: str, token: Path) -> None:
    token.write_text(slurmrestd.token(site.cluster))
    with live.jobs_of_each_kind(site) as jobs:
        for source in (Commands(timeout_s=60), by_token(address, token)):
            live.check(source, site, jobs)


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
