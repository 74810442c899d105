"""The demo's jobs: which example, what befalls it and how it has to end."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Sample:
    """One example as the demo submits it."""

    script: str
    about: str
    state: str  # in which every run of it has to end
    metric: str = "loss"
    points: int | None = None  # of each run; None: it is ended from outside, nobody knows when
    tasks: int = 0  # of an array; 0: no array
    nodes: int = 1
    interfere: tuple[str, ...] = ()  # the command that befalls the job, {job}, once it has logged some points


# No limit is shorter than a minute, but the owner of a job may bring its end near; Slurm looks each half minute.
AT_ITS_LIMIT = ("scontrol", "update", "JobId={job}", "EndTime=now")
SAMPLES = (
    Sample("digits.sh", "four learning rates", "COMPLETED", metric="test/loss", points=40, tasks=4),
    Sample("two_nodes.sh", "two nodes", "COMPLETED", points=50, nodes=2),
    Sample("fails.sh", "exits 3", "FAILED", points=0),
    Sample("too_long.sh", "hits its time limit", "TIMEOUT", interfere=AT_ITS_LIMIT),
    Sample("cancelled.sh", "is cancelled", "CANCELLED", interfere=("scancel", "{job}")),
    Sample("resume.sh", "is requeued half-way", "COMPLETED", points=60, interfere=("scontrol", "requeue", "{job}")),
)
