"""pyslurm where it does not fit: commands are asked instead, and it is said why."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.slurm.replay import VERSIONS, Recording
from tracker.errors import SetupProblem, SlurmUnavailable
from tracker.settings import Settings
from tracker.slurm.choice import chosen
from tracker.slurm.commands import Commands
from tracker.slurm.pyslurm_source import Pyslurm, asked_of_pyslurm, installed

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


@pytest.mark.skipif(installed() is not None, reason="there is a pyslurm")
def test_pyslurm_is_not_looked_for_where_the_watcher_was_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pyslurm.py").write_text("import sys\nsys.exit('planted')\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SlurmUnavailable, match="pyslurm failed") as refused:
        asked_of_pyslurm(timeout_s=60)
    assert "planted" not in str(refused.value)


@pytest.mark.parametrize("tasks", ["7-x", "-", "1-5/0"])
def test_tasks_that_cannot_be_read_are_no_answer(tasks: str) -> None:
    source = Pyslurm(
        timeout_s=1, ask=Recording("22.05").ask_commands(), tell=lambda: [{"array_tasks_waiting": tasks}], own="22.5.3"
    )
    with pytest.raises(SlurmUnavailable, match="cannot be understood"):
        source.queue()
