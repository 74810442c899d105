"""A run says in a sentence why it waits, or how it ended, with the evidence and what to change."""

from __future__ import annotations

from typing import Any

import pytest

from tracker.actions.explain import explain
from tracker.store.tables import Run, Summary

GIB = 1024**3


def run(state: str, *summary: Summary, **facts: Any) -> Run:
    return Run(state=state, cluster="dev", job_id=12, summary=list(summary), **facts)


def at(metric: str, most: float, last_step: int | None = None) -> Summary:
    return Summary(metric=metric, last=most, max=most, last_step=last_step)


def test_nothing_is_said_of_what_runs_or_ended_well() -> None:
    assert [str(explain(run(state))) for state in ("RUNNING", "SUSPENDED", "COMPLETED")] == ["", "", ""]


def test_a_job_that_waits_says_why_and_whether_it_ever_will_start() -> None:
    assert str(explain(run("PENDING", reason="Priority"))) == "Other jobs come first."
    hopeless = explain(run("PENDING", reason="QOSMaxWallDurationPerJobLimit"))
    assert hopeless.sentence == "It asks for more time than a job of its QOS may."
    assert "will not start like this" in hopeless.advice


def test_a_job_that_ran_out_of_memory_says_how_much_it_had_and_what_to_ask_for() -> None:
    ended = explain(
        run(
            "OUT_OF_MEMORY",
            at("system/memory_bytes", 7.9 * GIB),
            at("system/memory.percent", 98.75),
            at("loss", 0.5, last_step=4100),
            signal=125,
        )
    )
    assert ended.sentence == (
        "It needed more memory than it had asked for (seen by the agent: 7.9 GiB of 8 GiB), after step 4100."
    )
    assert ended.advice == "Ask for half as much again: --mem=12G, or for smaller batches."
    assert "--mem" in explain(run("OUT_OF_MEMORY")).advice


def test_the_limit_is_that_of_the_last_attempt() -> None:
    used = Summary(metric="system/memory_bytes", last=15 * GIB, max=15 * GIB)
    percent = Summary(metric="system/memory.percent", last=75.0, max=100.0)  # the first attempt had 10 GiB
    assert explain(run("OUT_OF_MEMORY", used, percent)).advice.startswith("Ask for half as much again: --mem=30G")
    used.max = 40 * GIB  # or the first one had more
    assert "GiB" not in explain(run("OUT_OF_MEMORY", used, percent)).sentence


@pytest.mark.parametrize(("used", "percent"), [(1e308, 1e-9), (float("inf"), 1.0), (-1.0, 5.0), (1.0, float("nan"))])
def test_figures_that_a_script_made_up_do_no_harm(used: float, percent: float) -> None:
    ended = explain(run("OUT_OF_MEMORY", at("system/memory_bytes", used), at("system/memory.percent", percent)))
    assert ended.advice == "Ask for more with --mem, or for smaller batches."


def test_our_own_words_are_not_told_as_those_of_slurm() -> None:
    assert str(explain(run("LOST", reason="nobody knows it"))).endswith("Nobody knows it.")


def test_a_job_at_its_limit_says_how_far_it_came() -> None:
    ended = explain(run("TIMEOUT", at("loss", 0.5, last_step=70), time_limit_s=7200, signal=15))
    assert ended.sentence == "It ran into its time limit of 2h 00m, after step 70."
    assert "--time" in ended.advice


@pytest.mark.parametrize(
    ("facts", "sentence"),
    [
        ({"exit_code": 3}, "It ended with exit code 3."),
        ({"exit_code": 127}, "It ended with exit code 127, which a shell gives for a command that was not found."),
        ({"exit_code": 137}, "It ended with exit code 137, which a shell gives for a program killed by SIGKILL."),
        ({"signal": 11}, "It was killed by SIGSEGV (signal 11): it touched memory that is not its own."),
        ({"exit_code": 1, "reason": "NonZeroExitCode"}, "It ended with exit code 1."),
        ({"exit_code": 1, "reason": "JobLaunchFailure"}, "It ended with exit code 1. Slurm says: JobLaunchFailure."),
    ],
)  # fmt: skip
def test_a_job_that_failed_says_how(facts: dict[str, Any], sentence: str) -> None:
    assert explain(run("FAILED", **facts)).sentence == sentence


def test_the_last_line_of_a_run_that_failed_is_quoted_as_a_terminal_would_show_it() -> None:
    output = "Traceback (most recent call last):\n\x1b[31mKeyError: 'lr'\x1b[0m\n\n"
    assert explain(run("FAILED", exit_code=1), output).quoted == "KeyError: 'lr'"
    assert len(explain(run("FAILED", exit_code=1), "x" * 100_000).quoted) == 200
    assert explain(run("TIMEOUT"), output).quoted == ""


def test_whoever_cancelled_a_job_is_named() -> None:
    assert explain(run("CANCELLED", reason="by bob", signal=15)).sentence == "It was cancelled by bob."
