"""The contract of sources, live on each version: Slurm's commands, and a slurmrestd that wants tokens."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab import slurmrestd
from tests.slurm import live
from tests.states.stage import Stage
from tracker.slurm.commands import Commands
from tracker.slurm.rest import Rest
from tracker.slurm.slurmrestd import Slurmrestd


def test_each_source_tells_what_is_there_now(stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PATH", "SLURM_CONF"):
        monkeypatch.setenv(name, stage.env[name])
    token = tmp_path / "token"
    token.write_text(slurmrestd.token(stage.cluster))
    with slurmrestd.on_port(stage.cluster) as address, live.jobs_of_each_kind(stage, *stage.small()) as jobs:
        by_token = Slurmrestd(address, token_file=str(token), user=slurmrestd.OWNER, timeout_s=60)
        for source in (Commands(timeout_s=60), Rest(by_token.get)):
            live.check(source, stage, jobs)
