"""Change what people say of runs: name, experiment, params, tags, and the end of a run outside Slurm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from tracker.errors import BadInput
from tracker.store import experiments, params, runs, silence
from tracker.store.database import Session
from tracker.store.tables import Param, Run, Tag


@dataclass(frozen=True)
class Change:
    """What is to be changed; None is left as it is. Of params and tags None takes one away, others stay.

    `state` is the end of a run outside Slurm.
    """

    name: str | None = None
    experiment: str | None = None
    params: Mapping[str, str | None] = field(default_factory=dict)
    tags: Mapping[str, str | None] = field(default_factory=dict)
    state: str | None = None
    reason: str | None = None


def change(session: Session, changed: Sequence[Run], wanted: Change, now: datetime) -> None:
    """Change runs, which the caller holds locked. Raises BadInput when Slurm must tell how one of them ended."""
    experiment = experiments.named(session, wanted.experiment, now) if wanted.experiment else None
    for run in changed:
        if wanted.state:
            _end(run, wanted, now)
        runs.changes(run, name=wanted.name, experiment_id=experiment and experiment.id, updated_at=now)
    ids = [run.id for run in changed]
    for table, said in ((Param, wanted.params), (Tag, wanted.tags)):
        params.forget(session, table, ids, [key for key, value in said.items() if value is None])
        params.set_of_many(session, table, ids, {key: value for key, value in said.items() if value is not None})


def _end(run: Run, wanted: Change, now: datetime) -> None:
    if run.cluster is not None:
        raise BadInput(f"Run {run.id} is a job: how it ends is told by Slurm, not by its `state` here.")
    silence.heard(run)
    if run.state != wanted.state:
        run.reason = None  # it was of the other state
    runs.changes(run, state=wanted.state, state_source="client", ended_at=run.ended_at or now, reason=wanted.reason)
