"""What a job's steps used together, as accounting tells of each."""

from __future__ import annotations

import pytest

from tracker.slurm.usage import Step, most_at_once, parse_usage

MIB = 1 << 20


@pytest.mark.parametrize(
    ("steps", "most"),
    [
        ([Step("batch", 0, 100, 5), Step("0", 10, 40, 20), Step("1", 40, 90, 30)], 55),
        ([Step("batch", 0, 100, 5), Step("0", 10, 40, 20), Step("1", 41, 90, 30)], 35),
        ([Step("batch", 0, 100, 5), Step("0", 10, 11, None)], 5),
        ([Step("batch", 0, 100, 5), Step("0", 10, 90, None)], None),  # --acctg-freq=0, or its end was not told
        ([Step("batch", 0, 100, 5), Step("0", 10, 90, 0)], None),
        ([Step("batch", 0, 100, 5), Step("extern", 0, 100, None)], 5),
        ([Step("batch", 0, 1, 0)], None),
        ([], None),
    ],
)
def test_steps_that_run_together_hold_memory_together(steps: list[Step], most: int | None) -> None:
    assert most_at_once(steps) == most


def test_the_most_of_one_task_is_not_taken_for_that_of_all() -> None:
    rows = [
        ("7", "1000", "1100", "01:00:00", ""),
        ("7.batch", "1000", "1100", "00:01:00", f"cpu=00:01:00,mem={MIB},vmem={MIB}"),
        ("7.0", "1010", "1090", "00:59:00", f"cpu=00:59:00,mem={64 * MIB},pages=0"),
    ]
    (found,) = parse_usage("".join(f"{'<>'.join(row)}<>\n" for row in rows), "<>")
    assert (found.job_id, found.cpu_s, found.memory_bytes) == (7, 3600, 65 * MIB)
