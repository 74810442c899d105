"""A source that counts what it is asked: how often, how long the answers took, how many failed."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar

from tracker.slurm.records import ClusterFacts, Limits, Node, QueuedJob, Record, Usage
from tracker.slurm.source import Source

HOUR_S = 3600.0
CONTROLLER, ACCOUNTING = ("facts", "queue", "nodes"), ("records", "ended", "usage", "limits")
"""Kinds of questions: to slurmctld, and to slurmdbd."""
KINDS = (*CONTROLLER, *ACCOUNTING)
Answer = TypeVar("Answer")


@dataclass
class Count:
    """Questions of one kind. `last_s` is how long the last answer took, with Slurm's client and its own waiting."""

    asked: int = 0
    failed: int = 0
    last_s: float = 0.0
    total_s: float = 0.0
    _at_s: deque[float] = field(default_factory=deque)

    def add(self, began_s: float, ended_s: float, failed: bool) -> None:
        """Take note of one question."""
        self.asked += 1
        self.failed += failed
        self.last_s = ended_s - began_s
        self.total_s += self.last_s
        self._at_s.append(ended_s)
        self.last_hour(ended_s)

    def last_hour(self, now_s: float) -> int:
        """How many there were in the last hour."""
        while self._at_s and self._at_s[0] < now_s - HOUR_S:
            self._at_s.popleft()
        return len(self._at_s)


class Counted:
    """Another source, with counts by kind of question."""

    def __init__(self, source: Source, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._source, self._clock_s = source, clock_s
        self.counts: dict[str, Count] = {kind: Count() for kind in KINDS}

    def waited_s(self, kinds: Iterable[str]) -> float:
        """Seconds that all answers to questions of these kinds took together."""
        return sum(self.counts[kind].total_s for kind in kinds)

    @property
    def name(self) -> str:
        """The source's name."""
        return self._source.name

    def facts(self) -> ClusterFacts:
        """What the configuration says."""
        return self._count("facts", self._source.facts)

    def queue(self, *, user: str | None = None) -> list[QueuedJob]:
        """The controller's jobs."""
        return self._count("queue", lambda: self._source.queue(user=user))

    def nodes(self) -> list[Node]:
        """The controller's nodes."""
        return self._count("nodes", self._source.nodes)

    def records(self, job_ids: Iterable[int]) -> list[Record]:
        """Every record of these jobs."""
        return self._count("records", lambda: self._source.records(job_ids))

    def ended(self, since: datetime, until: datetime, *, user: str | None = None) -> list[Record]:
        """Records of jobs that ended in that time."""
        return self._count("ended", lambda: self._source.ended(since, until, user=user))

    def usage(self, job_ids: Iterable[int]) -> list[Usage]:
        """What every attempt of these jobs has used."""
        return self._count("usage", lambda: self._source.usage(job_ids))

    def limits(self, cluster: str) -> Limits:
        """The limits of the cluster's accounting and partitions."""
        return self._count("limits", lambda: self._source.limits(cluster))

    def figures(self) -> dict[str, dict[str, float]]:
        """`asked`, `failed` and `last_hour` since this watcher began, and `last_s`, by kind."""
        now_s = self._clock_s()
        return {
            kind: {"asked": one.asked, "failed": one.failed, "last_hour": one.last_hour(now_s), "last_s": one.last_s}
            for kind, one in self.counts.items()
        }

    def _count(self, kind: str, ask: Callable[[], Answer]) -> Answer:
        began_s = self._clock_s()
        failed = True
        try:
            answer = ask()
            failed = False
            return answer
        finally:
            self.counts[kind].add(began_s, self._clock_s(), failed)
