"""Bring runs to what Slurm's accounting says. Accounting is the truth: what it says of an end stays."""

from __future__ import annotations

import pwd
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from tracker.actions import comments
from tracker.actions.join_tasks import ArrayTask
from tracker.slurm.accounting import BEGIN_AGAIN, REQUEUE_WITHIN, chains
from tracker.slurm.records import Record
from tracker.states import LIVE_STATES, SLURM_FINAL_STATES
from tracker.store import attempts, experiments, gpus, known_runs, moments, runs, suspensions, usages
from tracker.store.database import Session
from tracker.store.tables import Attempt, Run

Key = tuple[int, int | None]
"""How a job is told in the queue: job id, or array id and task."""

WORTH_ASKING = timedelta(seconds=30)
"""What shorter attempts used nobody is told: a cluster may end hundreds of them a second."""
_SAME = timedelta(seconds=1)


def key_of(job_id: int | None, array_job_id: int | None, array_task_id: int | None) -> Key:
    """The key of a job or an array's task."""
    return (array_job_id, array_task_id) if array_job_id is not None else (job_id or 0, None)


def tasks_of(records: Sequence[Record]) -> list[ArrayTask]:
    """The tasks of arrays that have started, by both their names."""
    return [
        ArrayTask(
            first.job_id, first.array_job_id, first.array_task_ids[0], first.submitted_at if len(chain) == 1 else None
        )
        for chain in chains(records)
        if (first := chain[0]).array_job_id is not None and len(first.array_task_ids) == 1 and chain[-1].started_at
    ]


def reconcile(session: Session, due: Sequence[Run], records: Sequence[Record], live: set[Key], now: datetime) -> None:
    """Apply accounting to the runs about which it was asked. Those in `live` are in the queue, so not at their end."""
    found: dict[Key, list[Sequence[Record]]] = {}
    all_chains = _by_job(session, due[0].cluster or "", chains(records)) if due else []
    components = _components(all_chains)
    for chain in reversed(all_chains):
        for key in _keys(chain[0]):
            found.setdefault(key, []).append(chain)
    mine = []
    for run in due:
        key = key_of(run.job_id, run.array_job_id, run.array_task_id)
        candidates = [*found.get(key, ()), *found.get((run.job_id or 0, None), ())]
        mine += [_Told(run, one, is_live=key in live) for one in candidates if _is_of(run, one)][:1]
    _apply_all(session, mine, components, now)
    gpus.settle(session, [one.run.id for one in mine])


def _by_job(session: Session, cluster: str, found: list[list[Record]]) -> list[list[Record]]:
    """Cut chains where another job with the same id begins of which the controller told: one that was never requeued.

    A controller that lost its memory counts ids from 1 again. Accounting alone does not tell such a job, soon after a
    node failed, from a requeue.
    """
    several = {chain[0].job_id for chain in found if len(chain) > 1}
    if not several:
        return found
    first = {(run.job_id, run.submitted_at) for run in runs.of_cluster(session, cluster, several) if not run.restarts}
    cut: list[list[Record]] = []
    for chain in found:
        cut.append(chain[:1])
        for record in chain[1:]:
            if (record.job_id, record.submitted_at) in first:
                cut.append([])
            cut[-1].append(record)
    return cut


def _components(found: Sequence[Sequence[Record]]) -> dict[int, list[Record]]:
    """The records of a het job's components beside its leader's, by the leader's id."""
    components: dict[int, list[Record]] = {}
    for record in (record for chain in found for record in chain):
        if record.het_job_id is not None and record.het_job_id != record.job_id:
            components.setdefault(record.het_job_id, []).append(record)
    return components


def _keys(record: Record) -> list[Key]:
    """Under what the run of a record is found: its array's tasks, and its job id."""
    tasks = [(record.array_job_id, task_id) for task_id in record.array_task_ids if record.array_job_id is not None]
    return [*tasks, (record.job_id, None)]


def register_ended(session: Session, cluster: str, records: Sequence[Record], now: datetime) -> None:
    """Make runs of ended jobs that nobody told us of: the watcher was away, and there was no hook.

    Of runs that are known but not ended by accounting, accounting is due: it may have come late.
    """
    all_chains = _by_job(session, cluster, chains(records))
    components = _components(all_chains)
    ended = [one for one in all_chains if one[-1].state in SLURM_FINAL_STATES and not one[-1].requeued]
    ended = [chain for chain in ended if chain[0].het_job_id in (None, chain[0].job_id)]  # a het job is its leader
    known_runs.reserve(session, {(cluster, chain[0].job_id) for chain in ended})
    array_ids = {chain[0].array_job_id for chain in ended if chain[0].array_job_id is not None}
    known: dict[Key, list[Run]] = {}
    task_ids = {task_id for chain in ended for task_id in chain[0].array_task_ids}
    for run in runs.of_cluster(session, cluster, {chain[0].job_id for chain in ended}, array_ids, task_ids):
        for key in {key_of(run.job_id, run.array_job_id, run.array_task_id), (run.job_id or 0, None)}:
            known.setdefault(key, []).append(run)
    unknown = []
    for chain in ended:
        record = chain[0]
        candidates = {run.id: run for key in _keys(record) for run in known.get(key, ())}.values()
        mine = [run for run in candidates if _is_of(run, chain) or _covers(run, record)]
        for run in mine:
            run.accounting_due = run.accounting_due or _is_news(run, chain[-1])
        unknown += [(chain, task_id) for task_id in (() if mine else record.array_task_ids or (None,))]
    made = _register(session, cluster, [(chain[0], task_id) for chain, task_id in unknown], now)
    told = [_Told(run, chain, is_live=False) for run, (chain, _) in zip(made, unknown, strict=True)]
    _apply_all(session, told, components, now)


def _is_of(run: Run, chain: Sequence[Record]) -> bool:
    """Whether a chain of records is this run's job: same id, and submitted when the run was."""
    first = chain[0]
    if run.array_job_id is not None and run.array_task_id is not None and first.array_job_id is not None:
        same_job = first.array_job_id == run.array_job_id and run.array_task_id in first.array_task_ids
    else:
        same_job = first.job_id == run.job_id
    if not same_job or run.submitted_at is None or first.submitted_at is None:
        return same_job
    return any(one.submitted_at and abs(one.submitted_at - run.submitted_at) <= _SAME for one in chain)


def _covers(run: Run, record: Record) -> bool:
    """Whether it is a later attempt of a run whose earlier ones are told late, or are older than was asked for."""
    if run.job_id != record.job_id or run.submitted_at is None or record.submitted_at is None:
        return False
    goes_on = run.restarts > 0 or run.state in LIVE_STATES or run.state in BEGIN_AGAIN
    soon = run.ended_at is None or record.submitted_at - run.ended_at <= REQUEUE_WITHIN
    return goes_on and soon and run.submitted_at <= record.submitted_at


def _is_news(run: Run, last: Record) -> bool:
    """Whether accounting tells an end of which the run does not know from accounting."""
    is_later = run.ended_at is None or (last.ended_at is not None and last.ended_at > run.ended_at)
    return run.state_source != "accounting" or is_later


def _register(
    session: Session, cluster: str, fresh: Sequence[tuple[Record, int | None]], now: datetime
) -> list[Run]:  # fmt: skip
    """Make a run of each of these jobs, or tasks of an array."""
    if not fresh:
        return []
    rows = [
        {"created_at": record.submitted_at or now, "state": "PENDING", "state_source": "accounting", "cluster": cluster,
         "job_id": record.job_id if record.started_at or task_id is None else None,
         "array_job_id": record.array_job_id, "array_task_id": task_id}
        for record, task_id in fresh
    ]  # fmt: skip
    return runs.add_all(session, rows, experiment=experiments.named(session, experiments.DEFAULT, now), now=now)


class _Told(NamedTuple):
    """A run and the records of its job; one that is live, in the queue, is not at its end."""

    run: Run
    chain: Sequence[Record]
    is_live: bool


def _apply_all(
    session: Session, told: Sequence[_Told], components: dict[int, list[Record]], now: datetime
) -> None:  # fmt: skip
    of_runs = attempts.of_runs(session, (one.run.id for one in told))
    waits = moments.Told()
    for run, chain, is_live in told:
        _apply_attempts(session, run, of_runs[run.id], chain, components.get(chain[0].job_id, ()))
        _apply(session, run, chain, is_live, now, waits)
    waits.keep(session)
    usages.hold(session, [one for run, chain, _ in told for one in _held(run, chain[-1])])


def _apply(
    session: Session, run: Run, chain: Sequence[Record], is_live: bool, now: datetime, told: moments.Told
) -> None:  # fmt: skip
    for record in chain:
        told.wait(run, record.submitted_at, record.eligible_at, "accounting", now)
    first, last = chain[0], chain[-1]
    different = runs.changes(
        run, submitted_at=first.submitted_at, user=last.user, account=last.account, partition=last.partition,
        job_id=last.job_id if last.started_at else None, array_job_id=last.array_job_id, het_job_id=last.het_job_id,
        time_limit_s=last.time_limit_s,
        array_task_id=last.array_task_ids[0] if len(last.array_task_ids) == 1 else None,
        work_dir=last.work_dir, name=run.name or last.name,
        gpus_requested=last.gpu_count or run.gpus_requested,
    )  # fmt: skip
    comments.apply(session, run, last.comment, now)
    # Slurm does not always tell when a job ended that it cancelled without starting it.
    ended_at = last.ended_at or (None if last.started_at else run.ended_at or last.submitted_at)
    over = last.state in SLURM_FINAL_STATES and not last.requeued and ended_at is not None
    if over and not is_live:
        reason = _canceller(last) if last.state == "CANCELLED" else None
        if not reason and run.reason and not (run.state_source == "controller" and run.state == last.state):
            run.reason, different = None, True  # why it waited, or was lost, is not how it ended
        first_start = next((one.started_at for one in chain if one.started_at), None)
        different |= runs.changes(
            run, state=last.state, state_source="accounting", started_at=first_start, ended_at=ended_at,
            exit_code=last.exit_code, signal=last.signal, reason=reason, accounting_due=False,
        )  # fmt: skip
    elif is_live and all(one.ended_at for one in chain[:-1]) and (last.ended_at is None or last.requeued):
        run.accounting_due = False
    if different:
        run.updated_at = now


def _apply_attempts(
    session: Session, run: Run, known: list[Attempt], chain: Sequence[Record], beside: Sequence[Record]
) -> None:  # fmt: skip
    for record in chain:
        if record.started_at is None:
            continue
        state = "REQUEUED" if record.requeued else record.state or "RUNNING"
        attempt = attempts.holding(known, record.started_at)
        attempt = attempt or attempts.add(session, run.id, known, record.started_at, state, source="accounting")
        if attempt.state == "SUSPENDED" and record.ended_at:
            suspensions.end(suspensions.of(session, run.id), record.ended_at)
        attempt.start_source = "accounting"
        attempt.end_source = "accounting" if record.ended_at else None
        attempt.gpu_count, attempt.shards = _gpu_count(record, beside), record.held.shards or None
        attempt.suspended_s = record.suspended_s
        attempt.started_at, attempt.ended_at, attempt.state = record.started_at, record.ended_at, state
        attempts.add_nodes(attempt, record.nodes)
    attempts.put_in_order(session, run.id, known)


def _gpu_count(record: Record, beside: Sequence[Record]) -> int:
    """How many GPUs an attempt held, those of all components of a het job."""
    same = (one for one in beside if one.started_at and abs(one.started_at - record.started_at) <= _SAME)  # type: ignore[operator]
    return record.gpu_count + sum(one.gpu_count for one in same)


def _held(run: Run, last: Record) -> list[usages.Held]:
    """What the last attempt of a run held that has ended for good, if it went on for long enough to say something."""
    began, ended = last.started_at, last.ended_at
    if run.state_source != "accounting" or began is None or ended is None or ended - began < WORTH_ASKING:
        return []
    return [usages.Held(run.id, began, last.held.cpus, last.held.memory_bytes, last.held.nodes, ended=True)]


def _canceller(record: Record) -> str | None:
    """Who cancelled a job, in words."""
    if record.cancelled_by_uid is None:
        return None
    try:
        return f"by {pwd.getpwuid(record.cancelled_by_uid).pw_name}"
    except KeyError:
        return f"by user {record.cancelled_by_uid}"
