"""The one way to ask Slurm, whoever is asked: its commands or slurmrestd."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Protocol

from tracker.slurm.records import ClusterFacts, Limits, Node, QueuedJob, Record, Usage

MAX_JOBS_A_QUESTION = 200
"""So many jobs are asked for by their ids at once."""


class Source(Protocol):
    """Asks Slurm. Each method is one question; all raise SlurmUnavailable when Slurm is silent or refuses."""

    @property
    def name(self) -> str:
        """The word for it in the setting `slurm_source`."""

    def facts(self) -> ClusterFacts:
        """What the configuration says."""

    def queue(self, *, user: str | None = None) -> list[QueuedJob]:
        """The controller's jobs, of all users or one; ended ones are in it or not, as the source has it."""

    def nodes(self) -> list[Node]:
        """The controller's nodes."""

    def records(self, job_ids: Iterable[int]) -> list[Record]:
        """Every record of these jobs, requeued ones and those of earlier users of the ids included."""

    def ended(self, since: datetime, until: datetime, *, user: str | None = None) -> list[Record]:
        """Records of jobs that ended in that time, those that never started included."""

    def usage(self, job_ids: Iterable[int]) -> list[Usage]:
        """What every attempt of these jobs has used. They have ended: those that run are left out or told in part."""

    def limits(self, cluster: str) -> Limits:
        """The limits of the cluster's accounting and partitions."""
