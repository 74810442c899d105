"""A queue of any length in squeue's own format, made from what a real squeue printed (tests/slurm/recordings)."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from lab.place import CHECKOUT
from tracker.slurm.asking import rows
from tracker.slurm.queue import FIELDS

RECORDING = CHECKOUT / "tests" / "slurm" / "recordings" / "22.05" / "commands.json"
FIRST_JOB = 1_000_000
_SEPARATOR = "<separator>"
_TOKEN = re.compile(r"\bx[0-9a-f]{16}\b")


class RecordedSlurm:
    """Answers commands as a recorded Slurm did, but for its queue, which has `jobs` jobs that wait.

    Each time it goes on their priorities grow and `changing` of them wait for another reason.
    """

    def __init__(self, jobs: int) -> None:
        answers = json.loads(RECORDING.read_text())
        first = {one["command"]: one["answer"] for one in reversed(answers)}  # of scontrol the configuration
        self._told: dict[str, str] = {command: answer for command, answer in first.items() if command != "sacct"}
        (asked,) = (one["arguments"][-1] for one in answers if one["command"] == "squeue")
        recorded = [field.partition(":")[0] for field in asked.split(",")]
        waiting = [row for row in rows(self._told["squeue"], _SEPARATOR, recorded) if row["State"] == "PENDING"]
        self._shapes = [row for row in waiting if "-" not in row["ArrayTaskID"]]
        self._jobs, self._times = jobs, 0
        self.changing = 0
        self.go_on()

    def __call__(self, arguments: Sequence[str]) -> str:
        """What the command prints."""
        token = _TOKEN.search(" ".join(arguments))
        answer = self._told.get(arguments[0], "")
        return answer.replace(_SEPARATOR, token[0]) if token else answer

    def go_on(self) -> None:
        """Let time go by in the queue."""
        self._times += 1
        self._told["squeue"] = "\n".join(self._row(number) for number in range(self._jobs)) + "\n"

    def _row(self, number: int) -> str:
        changes = number < self.changing and self._times % 2
        more = {
            "JobID": str(FIRST_JOB + number), "ArrayJobID": str(FIRST_JOB + number),
            "PriorityLong": str(1000 + self._times + number), "Reason": "Resources" if changes else "Priority",
        }  # fmt: skip
        row = {**self._shapes[number % len(self._shapes)], **more}
        return "".join(f"{row.get(field, '')}{_SEPARATOR}" for field in FIELDS)
