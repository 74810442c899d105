"""docs/states.md: what Slurm and the tracker said in each story, on each version. Written by the tests themselves."""

from __future__ import annotations

import os
import statistics
from dataclasses import dataclass

import pytest

from lab.place import CHECKOUT
from lab.release import VERSIONS
from tests.states.attempts import ATTEMPTS
from tests.states.ends import ENDS
from tests.states.outages import OUTAGES

PAGE = CHECKOUT / "docs" / "states.md"
STORIES = [*ENDS, *ATTEMPTS, *OUTAGES]
PROPERTY = "state of a story"
HEAD = """\
# States: what Slurm says, and what the run says

Each line is a test on a real cluster of each version, in which our run is compared with what `sacct -D` keeps: the
state of each attempt, its start and end, the exit code, the signal, and who cancelled it. The run may not have shown
another end before by the controller's or accounting's word, and none may be left running. The stories are in
`tests/states`; this page was written by `./run test tests/states -n 3 --write-states`.

The last columns are the seconds from the end of the job that Slurm tells, a whole second by its clock, to the moment
from which on the run was shown so, looked at five times a second; of arrays that of the slowest task. After an outage
of the server they count from its return. The median is {median_s:.1f} s, the longest {longest_s:.1f} s, with all of
these clusters and arrays at once on {cpus} processors, whose load was {load:.0f}.

| story | `sacct -D` | run | {versions} |
|---|---|---|{rules}|
"""
FOOT = """
A run's reason tells who cancelled it. A het job's components and a job's steps are no runs of their own.

Tasks of an array that are cancelled while others of it wait: Slurm forgets them, in its queue and in its accounting. A
task that waited, is no longer in the queue, and of which accounting knows nothing while it knows the array, is
CANCELLED by the controller's word; by whom is not known.
"""


@dataclass(frozen=True)
class Line:
    """One story on one version."""

    name: str
    version: str
    slurm: str
    run: str
    delay_s: float


class PageWriter:
    """A plugin of pytest that writes the page when all stories have been told on all versions."""

    def __init__(self) -> None:
        self._lines: list[Line] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep what a test told."""
        if report.when == "call" and report.passed:
            self._lines += [Line(**told) for name, told in report.user_properties if name == PROPERTY]  # type: ignore[arg-type]

    def pytest_sessionfinish(self) -> None:
        """Write the page; a session that did not tell everything leaves it as it is."""
        if {(line.name, line.version) for line in self._lines} == {
            (story.name, version) for story in STORIES for version in VERSIONS
        }:
            PAGE.write_text(page_of(self._lines))


def page_of(lines: list[Line]) -> str:
    """The page's text."""
    delays_s = [line.delay_s for line in lines]
    head = HEAD.format(
        versions=" | ".join(VERSIONS),
        rules="|".join("---:" for _ in VERSIONS),
        median_s=statistics.median(delays_s),
        longest_s=max(delays_s),
        cpus=len(os.sched_getaffinity(0)),
        load=os.getloadavg()[2],
    )
    rows = [row for story in STORIES for row in _rows(story.title, [one for one in lines if one.name == story.name])]
    return head + "\n".join(rows) + "\n" + FOOT


def _rows(title: str, lines: list[Line]) -> list[str]:
    """One row for all versions that say the same; mostly that is one."""
    alike: dict[tuple[str, str], dict[str, float]] = {}
    for line in lines:
        delays = alike.setdefault((line.slurm, line.run), {})
        delays[line.version] = max(line.delay_s, delays.get(line.version, 0))
    return [
        f"| {title} | {slurm} | {run} | "
        + " | ".join(f"{delays[version]:.1f}" if version in delays else "" for version in VERSIONS)
        + " |"
        for (slurm, run), delays in alike.items()
    ]
