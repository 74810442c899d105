"""How a story has to end, and whether Slurm's accounting and the run say so."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from ClusterShell.RangeSet import RangeSet

from tests.states.sightings import Name
from tests.states.stage import FINAL, Record, Stage


@dataclass(frozen=True)
class Ending:
    """How a job must have ended: what `sacct -D` says of its attempts, the last of which is the run's state."""

    job: int
    records: Sequence[str]
    exit_code: int | None = None  # None: whatever Slurm says
    signal: int | None = None
    canceller: str | None = None  # the run's reason, which tells who it was
    since_s: float = 0  # of jobs with this id only those submitted later
    known_s: float = 0  # nobody could know its end before


@dataclass(frozen=True)
class ArrayEnding:
    """How the tasks of an array must have ended."""

    job: int
    states: Mapping[int, str]
    untold: Mapping[int, float] = field(default_factory=dict)  # tasks that Slurm tells nothing of, and when they ended


@dataclass(frozen=True)
class Told:
    """What Slurm said, what the run said, and how many seconds after Slurm's end it did."""

    slurm: str
    run: str
    delay_s: float


def compare(stage: Stage, ending: Ending | ArrayEnding) -> Told:
    """Fails unless both say the same, and the run never said another end."""
    return _compare_array(stage, ending) if isinstance(ending, ArrayEnding) else _compare_job(stage, ending)


def _compare_job(stage: Stage, ending: Ending) -> Told:
    name = (ending.job, None)
    stage.until_told(name)
    records = [
        one for one in stage.records(ending.job) if one.job_id == ending.job and one.submitted_s >= ending.since_s
    ]
    assert [one.state for one in records] == list(ending.records), records
    run, last = stage.run_of(name), records[-1]
    assert (run["state"], run["exit_code"], run["signal"]) == (last.state, last.exit_code, last.signal)
    assert ending.exit_code in (None, last.exit_code)
    assert ending.signal in (None, last.signal)
    assert ending.canceller in (None, run["reason"])
    started = [one for one in records if one.nodes]
    assert [(one["number"], one["state"]) for one in run["attempts"]] == list(
        enumerate((one.state for one in started), start=1)
    )
    assert [(_seconds(one["started_at"]), _seconds(one["ended_at"])) for one in run["attempts"]] == [
        (one.started_s, one.ended_s) for one in started
    ]
    assert _seconds(run["started_at"]) == (started[0].started_s if started else None)
    assert last.ended_s in (None, _seconds(run["ended_at"]))  # None: cancelled by 24.11 as it was submitted
    delay_s = _delay_s(stage, name, last.state, max(last.ended_s or last.submitted_s, ending.known_s))
    return Told(", ".join(ending.records), _in_words(run, ending.canceller), delay_s)


def _compare_array(stage: Stage, ending: ArrayEnding) -> Told:
    for task in ending.states:
        if task in ending.untold:
            stage.until(ending.job, "CANCELLED", task=task)
        else:
            stage.until_told((ending.job, task))
    found = {task: one for one in stage.records(ending.job) for task in _tasks(one)}
    told = {task: state for task, state in ending.states.items() if task not in ending.untold}
    assert {task: one.state for task, one in found.items()} == told
    shown = {task: stage.sightings.of((ending.job, task))[-1].state for task in ending.states}
    assert shown == dict(ending.states)
    ends_s = {**{task: one.ended_s or 0 for task, one in found.items()}, **ending.untold}
    delay_s = max(_delay_s(stage, (ending.job, task), state, ends_s[task]) for task, state in ending.states.items())
    return Told(_counted(told.values()), _counted(shown.values()), delay_s)


def _delay_s(stage: Stage, name: Name, state: str, ended_s: float) -> float:
    """Seconds from Slurm's end to the moment from which on the run showed it.

    No other end was shown before, but what an Epilog's exit code looks like while the watcher is late.
    """
    history = stage.sightings.of(name)
    assert {shown.state for shown in history if shown.source != "hook"} & FINAL == {state}, history
    since = len(history)
    while since and history[since - 1].state == state:
        since -= 1
    return max(history[since].at_s - ended_s, 0)


def _tasks(record: Record) -> list[int]:
    match = re.match(r"\d+_\[?([\d,:-]+)", record.name)
    return [int(one) for one in RangeSet(match[1])] if match else []


def _seconds(moment: str | None) -> float | None:
    return None if moment is None else datetime.fromisoformat(moment.replace("Z", "+00:00")).timestamp()


def _in_words(run: Mapping[str, Any], canceller: str | None) -> str:
    several = f", {len(run['attempts'])} attempts" if len(run["attempts"]) > 1 else ""
    return f"{run['state']}{f' {canceller}' if canceller else ''}{several}"


def _counted(states: Iterable[str]) -> str:
    return ", ".join(f"{count} {state}" for state, count in sorted(Counter(states).items()))
