"""Small values in Slurm's answers."""

from __future__ import annotations

import pytest

from tracker.slurm.asking import new_separator, rows
from tracker.slurm.queue import FIELDS, parse_queue
from tracker.slurm.states import base_state
from tracker.slurm.values import accounted_name, gpu_count, limit_s, output_path


@pytest.mark.parametrize(
    ("word", "state"),
    [
        ("RUNNING", "RUNNING"),
        ("CANCELLED by 1001", "CANCELLED"),
        ("CANCELLED+", "CANCELLED"),
        ("CONFIGURING", "RUNNING"),
        ("REQUEUE_HOLD", "PENDING"),
        ("STOPPED", "SUSPENDED"),
        ("COMPLETING", None),
        ("", None),
        ("SOMETHING_NEW", None),
    ],
)
def test_the_base_state_behind_slurm_s_word(word: str, state: str | None) -> None:
    assert base_state(word) == state


@pytest.mark.parametrize(
    ("limit", "seconds"),
    [("10:00", 600), ("1:00:00", 3600), ("2-12:00:00", 216_000), ("0:30", 30), ("UNLIMITED", None), ("INVALID", None)],
)
def test_time_limits(limit: str, seconds: int | None) -> None:
    assert limit_s(limit) == seconds


def test_gpus_are_counted_once_whatever_their_types() -> None:
    assert gpu_count("cpu=4,mem=1G,gres/gpu=3,gres/gpu:a100=2,gres/gpu:h200=1") == 3
    assert gpu_count("cpu=4") == 0


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("/logs/%x-%j.out", "/logs/train-12.out"),
        ("slurm-%A_%4a.out", "/home/alice/slurm-10_0003.out"),
        ("%u/100%%", "/home/alice/alice/100%"),
        ("%9u-%9x-%9N", "/home/alice/alice-train-n1"),
        ("%99j", "/home/alice/0000000012"),
        ("%%j-%j", "/home/alice/%j-12"),
        ("\\\\/logs/%j", "/logs/%j"),
        ("%Q.out", "/home/alice/%Q.out"),
        ("%b.out", None),
    ],
)
def test_output_patterns(pattern: str, path: str | None) -> None:
    facts = {"j": "12", "A": "10", "a": "3", "x": "train", "u": "alice", "N": "n1"}
    assert output_path(pattern, facts, "/home/alice") == path


@pytest.mark.parametrize(("told", "name"), [("train", "train"), ("allocation", None), ("", None), ("None", "None")])
def test_accounting_calls_a_job_allocation_before_it_knows_the_name(told: str, name: str | None) -> None:
    assert accounted_name(told) == name


def test_no_job_name_can_forge_a_row() -> None:
    separator = new_separator()
    values = dict.fromkeys(FIELDS, "1")
    forged = values | {"JobID": "99", "UserName": "root", "State": "RUNNING"}
    hostile = "\n" + "|".join(forged.values()) + "\n" + "x0123456789abcdef".join(forged.values())
    answer = "".join(f"{value}{separator}" for value in (values | {"JobID": "7", "Name": hostile}).values()) + "\n"
    (job,) = parse_queue(answer, separator)
    assert (job.job_id, job.name) == (7, hostile)


def test_a_row_that_was_cut_off_is_dropped() -> None:
    assert [row["a"] for row in rows("1@@2@@\n3@@4@@\n5@@", "@@", ("a", "b"))] == ["1", "3"]
