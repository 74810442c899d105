"""Apply what Slurm's controller says of jobs: runs exist from the moment of submission, start, wait again, and end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

from tracker.actions import comments
from tracker.actions.join_tasks import ArrayTask, join_tasks
from tracker.slurm.records import QueuedJob
from tracker.states import FINAL_STATES, LIVE_STATES
from tracker.store import attempts, experiments, gpus, known_runs, logs, moments, runs, suspensions, usages
from tracker.store.database import Session
from tracker.store.tables import Attempt, Run

_SAME = timedelta(seconds=1)


def apply_queue(session: Session, cluster: str, jobs: Sequence[QueuedJob], now: datetime) -> None:
    """Bring the runs of these jobs to what the controller says: by few statements, however many they are."""
    jobs = [job for job in jobs if not job.het_job_id or job.het_job_id == job.job_id]  # a het job is its leader
    known_runs.reserve(session, {(cluster, job.job_id) for job in jobs if job.job_id})
    join_tasks(session, cluster, map(_task, filter(_is_task, jobs)))
    known = _Known(
        runs.of_cluster(
            session,
            cluster,
            (job.job_id for job in jobs if job.job_id),
            (job.array_job_id for job in jobs if job.array_job_id),
            (job.array_task_id for job in jobs if job.array_task_id is not None),
        )
    )
    _register(session, cluster, known, jobs, now)
    found = [(run, job) for job in jobs if (run := known.run_of(job))]
    of_runs = attempts.of_runs(session, (run.id for run, _ in found))
    told = moments.Told()
    for run, job in found:
        _apply(session, run, of_runs[run.id], job, now, told)
    told.keep(session)
    logs.expect(session, [one for run, job in found for one in _outputs(run, job)])
    usages.hold(session, [_held(run, job, job.started_at) for run, job in found if job.started_at and _holds(job)])
    gpus.settle(session, [run.id for run, job in found if job.started_at or job.restarts])


class _Known:
    """Runs by job id and by array task."""

    def __init__(self, found: Sequence[Run]) -> None:
        self._of_job: dict[int, list[Run]] = {}
        self._of_task: dict[tuple[int, int], list[Run]] = {}
        for run in found:
            self.add(run)

    def add(self, run: Run) -> None:
        if run.job_id is not None:
            self._of_job.setdefault(run.job_id, []).append(run)
        if run.array_job_id is not None and run.array_task_id is not None:
            self._of_task.setdefault((run.array_job_id, run.array_task_id), []).append(run)

    def run_of(self, job: QueuedJob) -> Run | None:
        """The run of a job; None if there is none yet."""
        by_id = _same(self._of_job.get(job.job_id or 0, []), job)
        if job.array_job_id is None or job.array_task_id is None:
            return by_id
        if by_id is not None and by_id.array_task_id not in (None, job.array_task_id):
            by_id = None  # the array's own id, which another task of it had taken
        return by_id or _same(self._of_task.get((job.array_job_id, job.array_task_id), []), job)


def _is_task(job: QueuedJob) -> bool:
    return None not in (job.job_id, job.array_job_id, job.array_task_id)


def _task(job: QueuedJob) -> ArrayTask:
    submitted_at = None if job.restarts else job.submitted_at
    return ArrayTask(job.job_id or 0, job.array_job_id or 0, job.array_task_id or 0, submitted_at)


def _same(candidates: Sequence[Run], job: QueuedJob) -> Run | None:
    """Of runs with this id the one that is this job: ids are reused, a requeue keeps the id but not the submit time."""
    for run in reversed(candidates):
        if run.submitted_at is None or job.submitted_at is None or job.restarts > 0:
            return run
        if abs(run.submitted_at - job.submitted_at) <= _SAME:
            return run
    return None


def _register(session: Session, cluster: str, known: _Known, jobs: Sequence[QueuedJob], now: datetime) -> None:
    """Make runs of the jobs of which there is none."""
    fresh = {(job.job_id, job.array_job_id, job.array_task_id): job for job in jobs if known.run_of(job) is None}
    if not fresh:
        return
    rows = [
        {**_facts(job), "created_at": job.submitted_at or now, "state": "PENDING", "state_source": "controller",
         "cluster": cluster, "name": job.name}
        for job in fresh.values()
    ]  # fmt: skip
    for run in runs.add_all(session, rows, experiment=experiments.named(session, experiments.DEFAULT, now), now=now):
        known.add(run)


def _facts(job: QueuedJob) -> dict[str, Any]:
    """What a row of the queue tells of a run whatever its state."""
    return {
        "job_id": job.job_id, "array_job_id": job.array_job_id, "array_task_id": job.array_task_id,
        "het_job_id": job.het_job_id, "user": job.user, "account": job.account, "partition": job.partition,
        "time_limit_s": job.time_limit_s, "gpus_requested": job.gpu_count, "work_dir": job.work_dir,
        "command": job.command,
    }  # fmt: skip


def _apply(
    session: Session, run: Run, known: list[Attempt], job: QueuedJob, now: datetime, told: moments.Told
) -> None:  # fmt: skip
    if run.submitted_at is None or job.state == "PENDING":
        told.wait(run, job.submitted_at, job.eligible_at, "controller", now)
    different = runs.changes(
        run, **_facts(job), submitted_at=run.submitted_at or job.submitted_at, name=run.name or job.name,
        restarts=job.restarts if job.state else None,  # one that is completing may be counted before it is requeued
    )  # fmt: skip
    different |= comments.apply(session, run, job.comment, now)
    if job.state == "PENDING":
        different |= _wait(session, run, known, job, now, told)
    elif _holds(job):
        different |= _go_on(session, run, known, job, now)
    elif job.state is not None:
        different |= _end(session, run, known, job)
    elif run.state in LIVE_STATES:
        run.accounting_due = True  # it is completing, for as long as its processes live: accounting knows the end
    if different:
        run.updated_at = now


def _wait(
    session: Session, run: Run, known: list[Attempt], job: QueuedJob, now: datetime, told: moments.Told
) -> bool:  # fmt: skip
    has_started_since = any(one.restarts == job.restarts for one in known) if known else run.state != "PENDING"
    if has_started_since:
        return False  # a hook has told of the start since Slurm was asked
    again = run.state != "PENDING"
    if again:
        attempts.give_back(session, run.id, known, now, "controller")
        run.ended_at = run.exit_code = run.signal = None
        run.accounting_due = True
    different = run.reason != job.reason
    run.reason = job.reason
    if job.reason and (different or again):
        told.reason(run, now, job.reason, "controller")
    return runs.changes(run, state="PENDING", state_source="controller") or different


def _go_on(session: Session, run: Run, known: list[Attempt], job: QueuedJob, now: datetime) -> bool:
    started_at = job.started_at
    if started_at is None:
        return False
    attempt = _attempt(session, run, known, job, started_at)
    if "SUSPENDED" in (job.state, attempt.state):
        _pause(session, run, job, started_at, now)
    attempt.started_at, attempt.ended_at, attempt.state = started_at, None, job.state or "RUNNING"
    attempt.start_source, attempt.end_source = "controller", None
    if job.het_job_id is None:
        attempt.gpu_count, attempt.shards = job.gpu_count, job.resources.shards or None
    attempts.add_nodes(attempt, job.nodes)
    run.ended_at = run.reason = run.exit_code = run.signal = None
    return runs.changes(run, state=job.state, state_source="controller", started_at=known[0].started_at)


def _pause(session: Session, run: Run, job: QueuedJob, started_at: datetime, now: datetime) -> None:
    """Note a suspension, or its end. Slurm does not count it as time used, so that tells when either happened."""
    known = suspensions.of(session, run.id)
    ran = None if job.run_time_s is None else timedelta(seconds=job.run_time_s)
    over = [one for one in known if one.ended_at and one.started_at >= started_at]
    before = sum((one.ended_at - one.started_at for one in over if one.ended_at), timedelta(0))
    if job.state == "SUSPENDED":
        suspensions.begin(
            session, run.id, known, now if ran is None else min(started_at + before + ran, now), "controller"
        )
    else:
        began = next((one.started_at for one in known if one.ended_at is None), now)
        now = now.replace(microsecond=0)  # Slurm counts whole seconds
        resumed_at = now if ran is None else began + (now - started_at - ran - before)
        suspensions.end(known, min(resumed_at, now))


def _end(session: Session, run: Run, known: list[Attempt], job: QueuedJob) -> bool:
    told = run.state_source == "accounting" and run.state in FINAL_STATES
    if told and not (run.ended_at and job.ended_at and job.ended_at > run.ended_at):
        return False  # a later end is that of a restart which nobody saw
    if job.started_at:
        attempt = _attempt(session, run, known, job, job.started_at)
        if attempt.state == "SUSPENDED" and job.ended_at:
            suspensions.end(suspensions.of(session, run.id), job.ended_at)
        attempt.started_at, attempt.ended_at, attempt.state = job.started_at, job.ended_at, job.state or ""
        attempt.start_source = attempt.end_source = "controller"
        attempts.add_nodes(attempt, job.nodes)
    run.reason = job.reason
    run.accounting_due = True
    first = known[0].started_at if known else None
    return runs.changes(
        run, state=job.state, state_source="controller", ended_at=job.ended_at, started_at=first,
        exit_code=job.exit_code, signal=job.signal,
    )  # fmt: skip


def _holds(job: QueuedJob) -> bool:
    return job.state in ("RUNNING", "SUSPENDED")


def _held(run: Run, job: QueuedJob, started_at: datetime) -> usages.Held:
    held = job.resources
    return usages.Held(run.id, started_at, held.cpus, held.memory_bytes, held.nodes, False, job.tasks)


def _attempt(session: Session, run: Run, known: list[Attempt], job: QueuedJob, started_at: datetime) -> Attempt:
    """The attempt that a row of the queue speaks of, made if there is none."""
    attempt = attempts.holding(known, started_at, job.restarts)
    state = job.state or "RUNNING"
    return attempt or attempts.add(session, run.id, known, started_at, state, job.restarts, source="controller")


def _outputs(run: Run, job: QueuedJob) -> Iterator[logs.Output]:
    """Where a job that has started writes."""
    if job.state == "PENDING" or not job.started_at:
        return
    if job.stdout:
        yield logs.Output(run.id, "stdout", job.stdout, job.batch_node, job.uid)
    if job.stderr and job.stderr != job.stdout:
        yield logs.Output(run.id, "stderr", job.stderr, job.batch_node, job.uid)
