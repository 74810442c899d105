"""A job read for people: how it waits, what is to be expected of it, how well it used what it held."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from tracker.actions import efficiency as uses
from tracker.actions import forecast as expected
from tracker.actions import waiting as waits
from tracker.actions.read_job import Reading
from tracker.store import tables
from web.api.models import Run, Time, Told


class Place(Told):
    """A place in the queue of the job's partitions, from 1; `theirs` of the `of` jobs are of the same user."""

    place: int
    of: int
    theirs: int


class Estimates(Told):
    """How far Slurm's estimates of starts were off: the medians of so many `jobs` of this partition in 30 days.

    `first_off_s` is of the first word about a job, `last_off_s` of the last one; `late_s`: by how much jobs started
    after the first one, negative when before.
    """

    jobs: int
    first_off_s: float
    last_off_s: float
    late_s: float


class Awaited(Told):
    """A job that is waited for; of one that the caller may not see its name alone."""

    job: str
    until: str
    state: str | None
    run_id: str | None


class Waiting(Told):
    """How a job waits, as Slurm said at `as_of`. `limit` holds it back: its name, its value and where it is set.

    `begins_at`: not before. `task_limit`: so many tasks of its array may run at once. `features`: what nodes must have.
    """

    as_of: Time | None
    partition: str
    priority: int
    place: Place | None
    user: str | None
    start_estimate_at: Time | None
    planned_nodes: str | None
    estimates: Estimates | None
    begins_at: Time | None
    limit: str | None
    awaited: list[Awaited]
    is_singleton: bool
    reservation: str | None
    features: str | None
    licenses: str | None
    task_limit: int | None

    @classmethod
    def of(cls, found: waits.Waiting | None) -> Waiting | None:
        """The same for the API."""
        return None if found is None else cls.model_validate(found)


class Forecast(Told):
    """What is to be expected of a run that says its `max_steps`, by the rate of its last stretch."""

    step: int
    max_steps: int
    steps_per_s: float
    spread: float
    ends_at: Time | None
    latest_end_at: Time | None
    limit_at: Time | None
    percent_at_limit: float | None
    stalled_since: Time | None
    verdict: Literal["finishes", "may not finish", "will not finish", "stalled", "silent", "no limit"]
    time_to_ask_for: str | None
    sentence: str

    @classmethod
    def of(cls, found: expected.Forecast | None) -> Forecast | None:
        """The same for the API."""
        return None if found is None else cls.model_validate({**vars(found), "sentence": str(found)})


class GpuUse(Told):
    """How busy a GPU was, by Slurm's index on its nodes; `memory_bytes` is the most in use."""

    index: int
    mean_percent: float
    max_percent: float
    memory_bytes: float | None


class Efficiency(Told):
    """How well a run uses, or used, what its newest attempt held; null where nobody knows. Memory is of a node.

    `sampled_percent`: of this part of its time the agent has samples. `lines` are options that would have been enough,
    told only where the evidence is good.
    """

    elapsed_s: float
    time_limit_s: int | None
    time_percent: float | None
    cpus: int
    busy_cpus: float | None
    cpu_percent: float | None
    requested_memory_bytes: float | None
    memory_bytes: float | None
    memory_percent: float | None
    gpus_held: int
    gpus: list[GpuUse]
    gpu_percent: float | None
    tasks: int | None
    sampled_percent: float | None
    sources: dict[str, Literal["accounting", "agent"]]
    lines: list[str]
    notes: list[str]

    @classmethod
    def of(cls, found: uses.Efficiency | None) -> Efficiency | None:
        """The same for the API."""
        return None if found is None else cls.model_validate(found)


class RunRead(Run):
    """A run, and what can be told of its job: how it waits, what to expect if it says its `max_steps`, its use."""

    waiting: Waiting | None
    forecast: Forecast | None
    efficiency: Efficiency | None

    @classmethod
    def read(cls, stored: tables.Run, output: str, reading: Reading) -> RunRead:
        """The run as the store has it, and how it was read."""
        return cls.model_construct(
            **dict(Run.of(stored, output)),
            waiting=Waiting.of(reading.waiting),
            forecast=Forecast.of(reading.forecast),
            efficiency=Efficiency.of(reading.efficiency),
        )


class Job(Run):
    """A run of the queue, and what is to be expected of it; `start_estimate_at`: Slurm's word while it waits."""

    forecast: Forecast | None
    start_estimate_at: Time | None

    @classmethod
    def seen(cls, stored: tables.Run, found: expected.Forecast | None, start_at: datetime | None) -> Job:
        """The run as the store has it."""
        told = {**dict(Run.of(stored)), "forecast": Forecast.of(found), "start_estimate_at": start_at}
        return cls.model_construct(**told)
