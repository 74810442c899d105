"""Store lines of spool files: once each, whatever is sent how often, and many files by as many statements as one."""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TypeGuard

from tracker.actions.apply_lines import apply_lines, is_more_than_points
from tracker.actions.correct_times import correct, note, settle
from tracker.actions.read_lines import Lines
from tracker.actions.read_points import MAX_STEP, PointLines
from tracker.actions.store_things import store_things
from tracker.errors import BadInput
from tracker.events import JobFolder, run_of_writer
from tracker.states import LOST
from tracker.store import experiments, known_runs, params, results, runs, series, silence, summaries, writers
from tracker.store.batches import Brought
from tracker.store.database import Session
from tracker.store.known_runs import KnownRun
from tracker.store.tables import Run
from tracker.store.writers import HeldWriter

MOST_NOTES = 20


@dataclass(frozen=True)
class Sent:
    """Lines of a writer's file from `offset_bytes` to `end_bytes`, read. `user` owns the folder.

    They arrived at `now`; their times are by a clock that is `skew` behind ours.
    """

    folder: JobFolder
    writer: str
    offset_bytes: int
    end_bytes: int
    said: Lines
    user: str | None
    now: datetime
    skew: timedelta = timedelta(0)


@dataclass
class _Intake:
    """What storing the lines of some requests comes to."""

    session: Session
    runs: known_runs.Index
    fresh: list[KnownRun] = field(default_factory=list)
    rows: dict[str, Run] = field(default_factory=dict)
    writers: dict[tuple[str, str], HeldWriter] = field(default_factory=dict)
    changed: defaultdict[str, dict[str, HeldWriter]] = field(default_factory=lambda: defaultdict(dict))
    """By run and name those that are to be kept."""
    brought: list[tuple[Brought, int, int]] = field(default_factory=list)
    notes: dict[str, dict[str, str]] = field(default_factory=dict)


Learn = Callable[[JobFolder, KnownRun, HeldWriter], None]
"""Takes of whose job folder lines were, and how they left their run and writer."""


def store_lines(
    session: Session, sent: Sequence[Sent], learn: Learn, known: Sequence[KnownRun] | None = None
) -> list[int | BadInput]:
    """Store lines of any number of writers; answer for each the offset that is held afterwards, or why it cannot be.

    The caller has reserved their runs, and gives what it got for that if nothing was changed since. `learn` is told of
    the writers whose runs no other one has a job with.

    Lines that do not begin where the stored ones end are not taken: the sender goes on from the answer.
    """
    if not sent:
        return []
    there = known_runs.known(session, *runs_of(sent)) if known is None else known
    store = _Intake(session, known_runs.Index(there))
    owners = _runs(store, sent)
    keys = {(run.id, one.writer) for run, one in zip(owners, sent, strict=True) if isinstance(run, KnownRun)}
    store.writers = writers.held(session, keys)
    told = {run.id for run, one in zip(owners, sent, strict=True) if _is_told_more(run, one)}
    store.rows = {row.id: row for row in runs.by_ids(session, told)} if told else {}
    answers = [
        _store(store, run, one) if isinstance(run, KnownRun) else run for run, one in zip(owners, sent, strict=True)
    ]
    _write(store, sent)
    for run, one in zip(owners, sent, strict=True):
        if isinstance(run, KnownRun) and store.runs.is_only(run):
            learn(one.folder, run, store.writers[run.id, one.writer])
    return answers


def runs_of(sent: Iterable[Sent]) -> tuple[set[tuple[str, int]], set[str]]:
    """The Slurm jobs (cluster, job id) and the ids of runs that files are of."""
    jobs, ids = set[tuple[str, int]](), set[str]()
    for one in sent:
        folder = one.folder
        if folder.run_id:
            ids.add(_id(folder.run_id))
        elif folder.cluster and folder.job_id:
            jobs.add((folder.cluster, folder.job_id))
        if beside := run_of_writer(one.writer):
            ids.add(_id(beside))
    return jobs, ids


def _write(store: _Intake, sent: Sequence[Sent]) -> None:
    session = store.session
    changed = [writer for of_run in store.changed.values() for writer in of_run.values()]
    writers.keep(session, changed, max(one.now for one in sent))
    for run_id, metrics in series.put(session, store.brought).items():
        for metric in metrics[:MOST_NOTES]:
            store.notes[run_id][metric] = f"the run has {summaries.MOST_METRICS} metrics already"
    for run_id, notes in store.notes.items():
        params.add_notes(session, run_id, notes)
    session.flush()
    known = store.runs.of_ids
    results.forget(session, [run_id for run_id in store.notes if not known[run_id].results_due])
    if lost := [run_id for run_id in store.notes if known[run_id].state == LOST]:
        silence.all_heard(session, lost)


def _is_told_more(run: KnownRun | BadInput, sent: Sent) -> TypeGuard[KnownRun]:
    return isinstance(run, KnownRun) and is_more_than_points(sent.said)


def _runs(store: _Intake, sent: Sequence[Sent]) -> list[KnownRun | BadInput]:
    """The run of each writer; made where there is none. Or why it may not be written to."""
    found = [_run(store, one) for one in sent]
    known_runs.register(store.session, store.fresh)
    return found


def _run(store: _Intake, sent: Sent) -> KnownRun | BadInput:
    folder, user = sent.folder, sent.user
    run = _of_folder(store, sent) or _made(store, sent)
    if user and run.user and user != run.user:
        return BadInput(f"The folder {folder.name} belongs to {user}, its run to another user.")
    beside = run_of_writer(sent.writer)
    return _beside(store, run, _id(beside), sent.now) if beside else run


def _of_folder(store: _Intake, sent: Sent) -> KnownRun | None:
    folder = sent.folder
    if folder.run_id:
        return store.runs.of_ids.get(_id(folder.run_id))
    assert folder.cluster is not None and folder.job_id is not None
    return store.runs.of_job(folder.cluster, folder.job_id, sent.now)


def _made(store: _Intake, sent: Sent) -> KnownRun:
    folder, now = sent.folder, sent.now
    experiment = experiments.named(store.session, experiments.DEFAULT, now)
    run_id = _id(folder.run_id) if folder.run_id else str(uuid.uuid4())
    return _fresh(
        store,
        KnownRun(run_id, folder.cluster, folder.job_id, None, experiment.id, sent.user, 0, None, now, False, "RUNNING"),
    )


def _fresh(store: _Intake, run: KnownRun) -> KnownRun:
    store.runs.add(run)
    store.fresh.append(run)
    return run


def _beside(store: _Intake, parent: KnownRun, run_id: str, now: datetime) -> KnownRun | BadInput:
    """The run that a script of the parent's job began beside it; made if there is none."""
    run = store.runs.of_ids.get(run_id) or _fresh(
        store,
        KnownRun(run_id, None, None, parent.id, parent.experiment_id, parent.user, 0, None, now, False, "RUNNING"),
    )
    if run.parent_id != parent.id:
        return BadInput(f"The run {run_id} was not begun in this folder's job.")
    return run


def _id(digits: str) -> str:
    return str(uuid.UUID(digits))


def _store(store: _Intake, run: KnownRun, sent: Sent) -> int:
    writer, said = store.writers[run.id, sent.writer], sent.said
    if sent.offset_bytes != writer.offset_bytes or sent.end_bytes == sent.offset_bytes:
        return writer.offset_bytes
    notes = store.notes.setdefault(run.id, {})
    if settle(writer, sent.skew) and sent.skew:
        notes.update(note(writer.node or "a node", sent.skew))
    start = _place(store, run, writer, said, sent.now)
    now_s = sent.now.timestamp()
    correct(said, writer.clock_skew_us, now_s)
    notes.update({**said.notes, **said.points.notes})
    first = sent.offset_bytes
    told = store_things(store.session, writer, said.things, first_offset_bytes=first, start=start, now_s=now_s)
    notes.update(list(told.items())[:MOST_NOTES])
    writer.offset_bytes = sent.end_bytes
    writer.rejected_lines += said.rejected
    if said.rejected:
        notes[f"file {writer.name}"] = f"{writer.rejected_lines} lines are not in our format"
    if blocks := said.points.blocks(start=start, now_us=round(now_s * 1_000_000), skew_us=writer.clock_skew_us):
        brought = Brought(run.id, writer.name, writer.batches, blocks)
        store.brought.append((brought, writer.restarts or 0, writer.rank))
        writer.batches += 1
    store.changed[run.id][writer.name] = writer
    if is_more_than_points(said):
        notes.update(apply_lines(store.session, store.rows[run.id], writer, said, sent.now))
    return writer.offset_bytes


def _place(store: _Intake, run: KnownRun, writer: HeldWriter, said: Lines, now: datetime) -> int:
    """Say where a writer stands after some lines; the answer is at which step it stood before them.

    The first points settle in which attempt and as which rank the file is written.
    """
    points, is_new = said.points, writer.first_step is None
    if not is_new:
        said.header = {}
    if header := said.header:
        writer.node, writer.rank, writer.restarts = header["node"], header["rank"], header["restarts"]
        writer.kind = writers.MACHINE if header["kind"] == writers.MACHINE else writers.SCRIPT
    if is_new and points.lines and writer.restarts is None:
        writer.restarts = writers.restarts_now(store.session, run)
    if is_new and writer.restarts:
        earlier = store.changed.pop(run.id, {})
        writers.keep(store.session, [*earlier.values()], now)  # an earlier attempt's may be among them
        writer.next_step = writers.goes_on_at(store.session, writer)
    start = writer.next_step
    if points.lines:
        first_step = start if points.first_step is None else points.first_step
        writer.first_step = first_step if is_new else writer.first_step
        writer.next_step = next_step(start, points)
    return start


def next_step(start: int, points: PointLines) -> int:
    """The step at which a file goes on that stood at step `start` before these lines."""
    return min(start + points.counted, MAX_STEP) if points.next_step is None else points.next_step
