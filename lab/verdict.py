"""Whether the tracker tells of each job what Slurm's accounting tells, with all points."""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from typing import Any

from lab.samples import Sample

TAIL_S = 5.0  # a job that is ended from outside logs until its end, but for the seconds Slurm takes to end it


@dataclass(frozen=True)
class Api:
    """The tracker's API, read as an administrator."""

    url: str
    token: str

    def get(self, path: str) -> Any:
        """The answer as JSON; None when there is no such thing (yet)."""
        request = urllib.request.Request(f"{self.url}/api/v1{path}", headers={"Authorization": f"Bearer {self.token}"})
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return json.load(answer)
        except OSError:
            return None

    def run(self, name: str) -> dict[str, Any]:
        """A run, by `cluster:job` or by its id; empty when it is not known (yet)."""
        return self.get(f"/runs/{urllib.parse.quote(name)}") or {}

    def series(self, name: str, metric: str, x: str) -> list[float]:
        """The steps (`x="step"`) or the times in seconds (`x="time"`) of all points of a series."""
        query = urllib.parse.urlencode({"metric": metric, "x": x, "max_points": 10_000})
        return list((self.get(f"/runs/{urllib.parse.quote(name)}/series?{query}") or {}).get("x", []))


@dataclass(frozen=True)
class Followed:
    """One run of a sample: a job or an array task, named as sacct names it ("12", "12_3")."""

    sample: Sample
    job: str


@dataclass(frozen=True)
class Accounted:
    """What Slurm's accounting says of a job: its state and when it ended (seconds since 1970; None before)."""

    state: str = ""
    ended_s: int | None = None


@dataclass(frozen=True)
class Verdict:
    """What was found about one run."""

    followed: Followed
    accounting: str  # empty: Slurm keeps no accounting
    tracker: str
    points: int
    points_right: bool

    @property
    def good(self) -> bool:
        """Whether the run ended as it should, and both tell so."""
        expected = self.followed.sample.state
        return self.points_right and self.tracker == expected and self.accounting in ("", expected)


def judge(api: Api, cluster: str, followed: Followed, accounted: Accounted) -> Verdict:
    """Compare one run with accounting and with the points it logged."""
    name = f"{cluster}:{followed.job}"
    steps = api.series(name, followed.sample.metric, "step")
    right = _all_there(followed.sample, steps)
    if right and followed.sample.points is None and accounted.ended_s:
        last_s = max(api.series(name, followed.sample.metric, "time"))
        right = accounted.ended_s - last_s < TAIL_S
    return Verdict(followed, accounted.state, str(api.run(name).get("state", "-")), len(steps), right)


def _all_there(sample: Sample, steps: list[float]) -> bool:
    """Whether no step is missing; ranks, and an attempt that was ended before its checkpoint, may log a step again."""
    found = set(steps)
    return found == set(range(len(found))) and (len(found) == sample.points or (sample.points is None and bool(found)))


def table(verdicts: list[Verdict]) -> str:
    """The verdicts for a person."""
    rows = [("job", "sample", "expected", "accounting", "tracker", "points", "")]
    for verdict in verdicts:
        sample = verdict.followed.sample
        points = f"{verdict.points}" if verdict.points_right else f"{verdict.points} of {sample.points or '?'}"
        rows.append(
            (
                verdict.followed.job,
                sample.about,
                sample.state,
                verdict.accounting or "none kept",
                verdict.tracker,
                points,
                "ok" if verdict.good else "WRONG",
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
