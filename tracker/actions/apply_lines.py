"""Apply what lines of a spool file say of a run besides points."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from tracker.actions.read_lines import Lines
from tracker.actions.read_values import utc
from tracker.store import attempts, captures, experiments, params, runs, writers
from tracker.store.attempts import HeldGpu
from tracker.store.database import Session
from tracker.store.tables import Run
from tracker.store.writers import HeldWriter


def is_more_than_points(said: Lines) -> bool:
    """Whether there is anything to apply."""
    named = said.header or said.experiment or said.name or said.params or said.tags
    return bool(named or said.capture or said.gpus or said.finish)


def apply_lines(session: Session, run: Run, writer: HeldWriter, said: Lines, now: datetime) -> dict[str, str]:
    """Change the run as the lines of a writer say; their times are by our clock. Answers notes by their keys."""
    notes: dict[str, str] = {}
    if said.header and run.cluster is None and writer.kind == writers.SCRIPT:
        _describe(run, said)
    params.set_params(session, run.id, said.params)
    params.set_tags(session, run.id, said.tags)
    if said.capture and not _keep_capture(session, run, writer, said.capture):
        notes["capture"] = f"the run has {captures.MOST_CAPTURES} captures already"
    if said.experiment:
        runs.changes(run, experiment_id=experiments.named(session, said.experiment, now).id)
    runs.changes(run, name=said.name)
    for gpu in said.gpus:
        assert gpu.said_s is not None
        said_at = utc(gpu.said_s)
        held = HeldGpu(gpu.index, gpu.uuid, gpu.mig)
        attempts.name_gpu(session, run.id, writer.node, held, said_at, gpu.type)
    if said.finish and run.cluster is None:
        _finish(run, said.finish)
    return notes


def _describe(run: Run, said: Lines) -> None:
    """Say of a run outside Slurm what only its script knows."""
    header = said.header
    started_at = utc(header["time"])
    runs.changes(run, started_at=run.started_at or started_at, work_dir=header["cwd"], command=header["argv"])
    runs.changes(run, name=run.name or _script(header["argv"]))


def _keep_capture(session: Session, run: Run, writer: HeldWriter, capture: dict[str, Any]) -> bool:
    at, attempt, content = utc(capture["time"]), capture["attempt"], capture["content"]
    return captures.keep(session, run.id, writer.name, captured_at=at, attempt=attempt, content=content)


def _script(argv: str | None) -> str | None:
    return argv.split()[0].rsplit("/", 1)[-1] if argv and argv.split() else None


def _finish(run: Run, finish: dict[str, Any]) -> None:
    """End a run outside Slurm, where nobody knows better than the script itself."""
    exit_code = finish["exit_code"] or 0
    ended_at = utc(finish["time"])
    state = "COMPLETED" if exit_code == 0 else "FAILED"
    runs.changes(run, state=state, state_source="client", exit_code=exit_code, ended_at=ended_at)
    run.reason = finish["reason"]  # it may have been LOST for another one
