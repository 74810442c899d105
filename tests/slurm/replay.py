"""Recorded answers of real Slurms (`./run cluster record`), given again to the sources that asked for them."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import cached_property
from pathlib import Path
from typing import Any

from tracker.slurm.commands import Ask, Commands
from tracker.slurm.pyslurm_source import Pyslurm
from tracker.slurm.rest import Rest
from tracker.slurm.source import Source

RECORDINGS = Path(__file__).parent / "recordings"
VERSIONS = sorted(folder.name for folder in RECORDINGS.iterdir())
"""Of Slurm, some with another source (`22.05-pyslurm`): one recording needs one set of jobs."""
_TOKEN = re.compile(r"\bx[0-9a-f]{16}\b")
_SEPARATOR = "<separator>"


@dataclass(frozen=True)
class Recording:
    """One version's answers. `facts` names the jobs (lab/known_jobs.py)."""

    version: str

    @property
    def release(self) -> str:
        """Slurm's."""
        return self.version.partition("-")[0]

    @cached_property
    def facts(self) -> dict[str, Any]:
        return self._read("facts")

    @property
    def sources(self) -> list[str]:
        """The sources that were recorded."""
        return [
            name for name in ("commands", "rest", "pyslurm") if (RECORDINGS / self.version / f"{name}.json").exists()
        ]

    def source(self, name: str) -> Source:
        """The source, which asks the recording."""
        return {"commands": self._commands, "rest": self._rest, "pyslurm": self._pyslurm}[name]()

    def job_id(self, name: str) -> int:
        return int(self.facts["jobs"][name])

    @property
    def window(self) -> tuple[datetime, datetime]:
        """When the jobs ran."""
        began, ended = (datetime.fromtimestamp(self.facts[key], tz=timezone.utc) for key in ("began_at", "ended_at"))
        return began, ended

    def _read(self, name: str) -> Any:
        return json.loads((RECORDINGS / self.version / f"{name}.json").read_text())

    def _commands(self) -> Source:
        return Commands(timeout_s=1, ask=self.ask_commands())

    def _pyslurm(self) -> Source:
        return Pyslurm(timeout_s=1, ask=self.ask_commands(), tell=lambda: list(self._read("pyslurm")), own=self.release)

    def ask_commands(self) -> Ask:
        """Gives what a command printed."""
        answers = self._read("commands")

        def ask(arguments: Sequence[str]) -> str:
            token = _TOKEN.search(" ".join(arguments))
            alike = [one for one in answers if _matches(one["arguments"], arguments)]
            one = max(alike, key=lambda one: len({*_fields(one["arguments"])} & {*_fields(arguments)}))
            answer = _as_asked(one, arguments) if arguments[0] in ("sacct", "squeue") else str(one["answer"])
            return answer.replace(_SEPARATOR, token[0]) if token else answer

        return ask

    def _rest(self) -> Source:
        answers = self._read("rest")

        def get(path: str) -> dict[str, Any]:
            """The answer to this path; of accounting, to the same kind of query."""
            alike = [one["answer"] for one in answers if _query_of(one["path"]) == _query_of(path)]
            return dict(alike[0])

        return Rest(get)


def _query_of(path: str) -> tuple[str, frozenset[str]]:
    where, _, query = path.partition("?")
    return where, frozenset(part.partition("=")[0] for part in query.split("&"))


def _matches(recorded: Sequence[str], asked: Sequence[str]) -> bool:
    """Whether a recorded call is the asked one, whatever separator and fields and, in accounting, jobs and times."""
    if recorded[0] != asked[0] or asked[0] not in ("squeue", "sacct"):
        return list(recorded) == [_told(one) for one in asked]
    if asked[0] == "squeue":
        alike = recorded[:-1] == list(asked[:-1])
    else:
        alike = recorded[1].partition("=")[0] == asked[1].partition("=")[0]
        alike &= "--allocations" not in recorded or "--allocations" in asked
    return alike


def _told(argument: str) -> str:
    return _TOKEN.sub(_SEPARATOR, argument)


def _fields(arguments: Sequence[str]) -> list[str]:
    """What squeue or sacct was asked for."""
    return [one.partition(":")[0] for one in arguments[-1].removeprefix("--format=").split(",")]


def _as_asked(recorded: dict[str, Any], asked: Sequence[str]) -> str:
    """What squeue or sacct would have said when asked for fewer fields, and sacct for no steps.

    Nothing in fields that were not asked for yet when it was recorded.
    """
    told, wanted = _fields(recorded["arguments"]), _fields(asked)
    cells = recorded["answer"].split(_SEPARATOR)
    rows = [
        dict(zip(told, (cell.lstrip("\n") for cell in cells[at : at + len(told)]), strict=True))
        for at in range(0, len(cells) - len(told), len(told))
    ]
    attempts = [row for row in rows if "--allocations" not in asked or "." not in row["JobIDRaw"]]
    return "".join("".join(f"{row.get(name, '')}{_SEPARATOR}" for name in wanted) + "\n" for row in attempts)
