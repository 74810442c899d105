"""Store lines of a spool file: once each, whatever is sent how often."""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta
from typing import Any

from tracker.actions.correct_times import correct, note, settle
from tracker.actions.read_lines import Lines, read_lines
from tracker.actions.read_values import utc
from tracker.actions.store_things import store_things
from tracker.errors import BadInput
from tracker.events import MAX_LINE_BYTES, JobFolder, run_of_writer
from tracker.store import attempts, captures, experiments, params, runs, series, writers
from tracker.store.database import Session
from tracker.store.points import Points
from tracker.store.tables import Run, Writer

MOST_NOTES = 20


def store_lines(
    session: Session,
    folder: JobFolder,
    writer_name: str,
    offset_bytes: int,
    raw: bytes,
    *,
    user: str | None,
    now: datetime,
    skew: timedelta,
) -> int:
    """Store lines that begin at `offset_bytes` of a writer's file; answer the offset that is held afterwards.

    Their times are by a clock that is `skew` behind ours.

    Lines that do not begin where the stored ones end are not taken: the sender goes on from the answer.
    """
    run = run_of(session, folder, now) or _registered(session, folder, user, now)
    if user and run.user and user != run.user:
        raise BadInput(f"The folder {folder.name} belongs to {user}, its run to another user.")
    beside = run_of_writer(writer_name)
    if beside:
        run = _beside(session, run, str(uuid.UUID(beside)), now)
    writer = writers.lock(session, run.id, writer_name)
    end = raw.rfind(b"\n") + 1 or (len(raw) if len(raw) >= MAX_LINE_BYTES else 0)  # a line that long is rejected
    if offset_bytes != writer.offset_bytes or not end:
        return writer.offset_bytes
    changed = settle(writer, skew)
    said = _read(session, run, writer, raw[:end], now)
    if changed and skew:
        said.notes.update(note(writer.node or "a node", skew))
    first_offset_bytes, now_s = writer.offset_bytes, now.timestamp()
    told = store_things(session, writer, said.things, first_offset_bytes=first_offset_bytes, now_s=now_s)
    said.notes.update(list(told.items())[:MOST_NOTES])
    writer.offset_bytes += end
    writer.rejected_lines += said.rejected
    if said.rejected:
        said.notes[f"file {writer_name}"] = f"{writer.rejected_lines} lines are not in our format"
    _apply(session, run, writer, said, now)
    return writer.offset_bytes


def _read(session: Session, run: Run, writer: Writer, raw: bytes, now: datetime) -> Lines:
    """Read lines; the first points settle in which attempt and as which rank the file is written."""
    skew_us = writer.clock_skew_us
    is_new, now_s = writer.first_step is None, now.timestamp() - skew_us / 1_000_000
    said = read_lines(raw, now_s=now_s, next_step=writer.next_step, first_step=writer.first_step)
    if said.header:
        header = said.header
        writer.node, writer.rank, writer.restarts = header["node"], header["rank"], header["restarts"]
        writer.kind = writers.MACHINE if header["kind"] == writers.MACHINE else writers.SCRIPT
    if said.first_step is not None and writer.restarts is None:
        writer.restarts = writers.restarts_now(session, run)
    if is_new and (start := writers.goes_on_at(session, writer)):
        said = read_lines(raw, now_s=now_s, next_step=start)
    writer.first_step, writer.next_step = said.first_step, said.next_step
    if skew_us:
        correct(said, skew_us)
    return said


def run_of(session: Session, folder: JobFolder, at: datetime) -> Run | None:
    """The run of a job folder, locked; None if there is none yet."""
    if folder.run_id:
        return runs.lock(session, str(uuid.UUID(folder.run_id)))
    assert folder.cluster is not None and folder.job_id is not None
    return runs.of_job(session, folder.cluster, folder.job_id, at)


def _registered(session: Session, folder: JobFolder, user: str | None, now: datetime) -> Run:
    run_id = str(uuid.UUID(folder.run_id)) if folder.run_id else str(uuid.uuid4())
    return runs.add(
        session, experiment=experiments.named(session, experiments.DEFAULT, now), now=now, id=run_id, state="RUNNING",
        state_source="client", cluster=folder.cluster, job_id=folder.job_id, user=user,
    )  # fmt: skip


def _beside(session: Session, parent: Run, run_id: str, now: datetime) -> Run:
    """The run that a script of the parent's job began beside it, locked; made if there is none. Raises BadInput."""
    run = runs.lock(session, run_id)
    if run is None:
        return runs.add(
            session, experiment=parent.experiment, now=now, id=run_id, state="RUNNING", state_source="client",
            parent_id=parent.id, user=parent.user,
        )  # fmt: skip
    if run.parent_id != parent.id:
        raise BadInput(f"The run {run_id} was not begun in this folder's job.")
    return run


def _apply(session: Session, run: Run, writer: Writer, said: Lines, now: datetime) -> None:
    if said.header and run.cluster is None and writer.kind == writers.SCRIPT:
        _describe(run, said)
    columns = {
        metric: Points.of(column.steps, column.times_us, column.values) for metric, column in said.columns.items()
    }
    for metric in series.append(session, writer, columns)[:MOST_NOTES]:
        said.notes[metric] = f"the run has {series.MOST_METRICS} metrics already"
    params.set_params(session, run.id, said.params)
    params.set_tags(session, run.id, said.tags)
    if said.capture:
        _keep_capture(session, run, writer, said)
    params.add_notes(session, run.id, said.notes)
    if said.experiment:
        runs.changes(run, experiment_id=experiments.named(session, said.experiment, now).id)
    runs.changes(run, name=said.name, updated_at=now)
    for gpu in said.gpus:
        said_at = utc(gpu.said_s)
        attempts.name_gpu(session, run.id, writer.node, gpu.index, said_at, uuid=gpu.uuid, type=gpu.type)
    if said.finish and run.cluster is None:
        _finish(run, said.finish)


def _describe(run: Run, said: Lines) -> None:
    """Say of a run outside Slurm what only its script knows."""
    header = said.header
    started_at = utc(header["time"])
    runs.changes(run, started_at=run.started_at or started_at, work_dir=header["cwd"], command=header["argv"])
    runs.changes(run, name=run.name or _script(header["argv"]))


def _keep_capture(session: Session, run: Run, writer: Writer, said: Lines) -> None:
    assert said.capture is not None
    captured_at = utc(said.capture["time"])
    kept = captures.keep(
        session, run.id, writer.name, captured_at=captured_at, attempt=said.capture["attempt"],
        content=said.capture["content"],
    )  # fmt: skip
    if not kept:
        said.notes["capture"] = f"the run has {captures.MOST_CAPTURES} captures already"


def _script(argv: str | None) -> str | None:
    return argv.split()[0].rsplit("/", 1)[-1] if argv and argv.split() else None


def _finish(run: Run, finish: dict[str, Any]) -> None:
    """End a run outside Slurm, where nobody knows better than the script itself."""
    exit_code = finish["exit_code"] or 0
    ended_at = utc(finish["time"])
    state = "COMPLETED" if exit_code == 0 else "FAILED"
    runs.changes(
        run, state=state, state_source="client", exit_code=exit_code, ended_at=ended_at, reason=finish["reason"]
    )
