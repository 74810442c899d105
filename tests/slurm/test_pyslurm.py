"""pyslurm where it does not fit: commands are asked instead, and it is said why."""

from __future__ import annotations

from typing import Any

import pytest

from tests.slurm.replay import VERSIONS, Recording
from tracker.errors import SetupProblem
from tracker.settings import Settings
from tracker.slurm.choice import chosen
from tracker.slurm.commands import Commands
from tracker.slurm.pyslurm_source import Pyslurm, installed

UNLIKE = ("exit_code", "signal", "run_time_s")
"""Not to be believed, and counted on between two questions."""


def never() -> list[dict[str, Any]]:
    raise AssertionError("pyslurm was asked")


@pytest.mark.parametrize(
    ("version", "own", "words"), [("22.05", "24.11.0", "does not fit Slurm 22.05"), ("24.11", "22.5.3", "24.11.")]
)
def test_one_of_another_release_is_not_asked(version: str, own: str, words: str) -> None:
    recording = Recording(version)
    source = Pyslurm(timeout_s=1, ask=recording.ask_commands(), tell=never, own=own)
    assert source.queue() == recording.source("commands").queue()
    assert source.name == "commands"
    assert words in (source.why_not or "")


def test_one_of_the_same_release_is_asked_whatever_its_last_number() -> None:
    recording = Recording("22.05")
    source = Pyslurm(timeout_s=1, ask=recording.ask_commands(), tell=list, own="22.5.3")
    assert source.queue() == []
    assert (source.name, source.why_not) == ("pyslurm", None)


def test_without_accounting_the_queue_is_asked_of_commands_that_tell_exit_codes() -> None:
    answer = "ClusterName = dev\nSLURM_VERSION = 22.05.8\nAccountingStorageType = (null)\n"
    source = Pyslurm(timeout_s=1, ask=lambda words: answer if words[0] == "scontrol" else "", tell=never, own="22.5.3")
    assert source.queue() == []
    assert "exit codes" in (source.why_not or "")


@pytest.mark.parametrize("version", [one for one in VERSIONS if "pyslurm" in Recording(one).sources])
def test_it_tells_the_same_as_commands_but_for_exit_codes(version: str) -> None:
    by_commands, by_pyslurm = (
        {(job.job_id, job.array_job_id, job.array_task_id): job for job in Recording(version).source(name).queue()}
        for name in ("commands", "pyslurm")
    )
    assert by_pyslurm.keys() == by_commands.keys()
    different = {
        (key, name, told, getattr(by_pyslurm[key], name))
        for key, job in by_commands.items()
        for name, told in vars(job).items()
        if name not in UNLIKE and told != getattr(by_pyslurm[key], name)
    }
    assert different == set()


@pytest.mark.skipif(installed() is not None, reason="there is a pyslurm")
def test_without_pyslurm_who_asks_for_it_is_told_and_others_have_commands() -> None:
    with pytest.raises(SetupProblem, match="pyslurm is not installed"):
        chosen(Settings(slurm_source="pyslurm"))
    assert type(chosen(Settings(slurm_source="auto"))) is Commands
