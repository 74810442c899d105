"""Runs: finding, reading and changing them."""

from __future__ import annotations

import re
import secrets
import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Select,
    and_,
    false,
    func,
    or_,
    select,
)
from sqlalchemy.orm import Session, aliased, joinedload, selectinload

from tracker.errors import Conflict, NotFound
from tracker.states import FINAL_STATES, LIVE_STATES, LOST
from tracker.store import details, silence
from tracker.store.among import among
from tracker.store.identity import Identity
from tracker.store.search.candidates import Way
from tracker.store.search.groups import Group, group
from tracker.store.search.language import Condition, Field, Order
from tracker.store.search.orders import NEWEST_FIRST
from tracker.store.search.pages import Search
from tracker.store.tables import Attempt, Experiment, Run

CLOCK_SLACK = timedelta(seconds=2)
"""How far the clocks of nodes and controller may differ; Slurm's times are whole seconds, too."""
_RUNS = Run.__table__.c
_WITH_IDS = among(_RUNS.id, "ids")
_OF_JOBS = and_(among(_RUNS.cluster, "clusters"), among(_RUNS.job_id, "jobs"))  # and perhaps others
_OF_ARRAYS = among(_RUNS.array_job_id, "arrays")
_ATTEMPTS = selectinload(Run.attempts).selectinload(Attempt.gpus)
_DETAILS = (
    selectinload(Run.params), selectinload(Run.tags), selectinload(Run.summary), _ATTEMPTS, joinedload(Run.usage),
)  # fmt: skip
_JOB_NAME = re.compile(r"(?P<cluster>[^:]+):(?P<job>\d{1,18})(?:_(?P<task>\d{1,18}))?\Z")


@dataclass(frozen=True)
class Page:
    """Some runs, and where the next page begins; None on the last."""

    items: list[Run]
    next_cursor: str | None


def visible_to(viewer: Identity) -> ColumnElement[bool]:
    """The condition that a run may be read by the viewer."""
    if viewer.job is not None:
        return and_(Run.deleted_at.is_(None), Run.user == viewer.user, or_(*_of_the_job(*viewer.job)))
    if viewer.sees_all:
        return Run.deleted_at.is_(None)
    return and_(Run.deleted_at.is_(None), Run.user == viewer.user) if viewer.sees_own else false()


def _of_the_job(cluster: str, job_id: int) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    """The conditions that a run is that of a job, and that it was begun beside it."""
    parent = aliased(Run)
    of_job = select(parent.id).where(parent.cluster == cluster, parent.job_id == job_id)
    return and_(Run.cluster == cluster, Run.job_id == job_id), Run.parent_id.in_(of_job)


def find(
    session: Session,
    viewer: Identity,
    *,
    experiment: str | None = None,
    user: str | None = None,
    states: Sequence[str] = (),
    search: str | None = None,
    where: Condition | None = None,
    orders: Sequence[Order] = NEWEST_FIRST,
    limit: int = 50,
    cursor: str | None = None,
) -> Page:
    """Runs that fit all that is given, newest first unless `orders` says otherwise; `search` looks into names and ids.

    Raises BadInput for a cursor that is not ours, BadFilter for a field that runs do not have.
    """
    now = datetime.now(timezone.utc)
    ids, next_cursor = _searched(viewer, experiment, user, states, search, where, now).page(
        session, orders, limit, cursor
    )
    found = {run.id: run for run in session.scalars(select(Run).where(_WITH_IDS), {"ids": ids})}
    page = Page([found[run_id] for run_id in ids], next_cursor)
    details.load(session, page.items)
    return page


def search(viewer: Identity, **asked: Any) -> Search:
    """All runs that `find` finds page by page when it is asked the same."""
    wanted = {"experiment": None, "user": None, "states": (), "search": None, "where": None} | asked
    return _searched(viewer, **wanted, now=datetime.now(timezone.utc))


def _searched(
    viewer: Identity, experiment: str | None, user: str | None, states: Sequence[str], search: str | None,
    where: Condition | None, now: datetime,
) -> Search:  # fmt: skip
    allowed, ways = [visible_to(viewer)], []
    if viewer.job is not None:
        ways.append(Way(tuple(select(Run.id).where(one) for one in _of_the_job(*viewer.job))))
    elif viewer.sees_own and not viewer.sees_all:
        ways.append(Way((select(Run.id).where(Run.user == viewer.user),)))
    if experiment:
        named = select(Experiment.id).where(Experiment.name == experiment).scalar_subquery()
        allowed.append(Run.experiment_id == named)
        ways.append(Way((select(Run.id).where(Run.experiment_id == named),)))
    if user:
        allowed.append(Run.user == user)
        ways.append(Way((select(Run.id).where(Run.user == user),)))
    if states:
        allowed.append(Run.state.in_(states))
        ways.append(Way((select(Run.id).where(Run.state.in_(states)),)))
    if search:
        allowed.append(_mentions(search))
        ways.append(Way((select(Run.id).where(_mentions(search)),), scans=True))
    return Search(allowed, ways, where, now)


def groups(
    session: Session,
    viewer: Identity,
    by: Sequence[Field],
    metric: Field | None = None,
    *,
    experiment: str | None = None,
    user: str | None = None,
    states: Sequence[str] = (),
    search: str | None = None,
    where: Condition | None = None,
    limit: int = 200,
) -> list[Group]:
    """Groups of the runs that `find` finds, by what they have in common, the largest first. Raises BadFilter."""
    now = datetime.now(timezone.utc)
    found = _searched(viewer, experiment, user, states, search, where, now)
    return group(session, found, by, metric, now, limit)


def board(session: Session, viewer: Identity, *, live_limit: int, ended_limit: int) -> tuple[list[Run], list[Run]]:
    """Runs that wait or run, newest first, and runs that ended, the last one first. Params and tags are not loaded."""
    mine = visible_to(viewer)
    live = select(Run.id).where(mine, Run.state.in_(LIVE_STATES)).order_by(Run.created_at.desc()).limit(live_limit)
    ended = select(Run.id).where(mine, Run.ended_at.is_not(None)).order_by(Run.ended_at.desc()).limit(ended_limit)
    details = (selectinload(Run.summary), selectinload(Run.attempts).selectinload(Attempt.gpus))
    either = or_(Run.id.in_(live), Run.id.in_(ended))
    found = list(session.scalars(select(Run).where(either).options(*details).order_by(Run.created_at.desc())))
    over = [run for run in found if run.state in FINAL_STATES]
    return (
        [run for run in found if run.state in LIVE_STATES],
        sorted(over, key=lambda run: run.ended_at or run.created_at, reverse=True),
    )


def _mentions(words: str) -> ColumnElement[bool]:
    found = or_(Run.name.icontains(words, autoescape=True), Run.id == words.lower())
    return (
        or_(found, Run.job_id == int(words), Run.array_job_id == int(words))
        if re.fullmatch(r"\d{1,18}", words)
        else found
    )


def get(session: Session, viewer: Identity, ident: str) -> Run:
    """One run by its UUID, `cluster:job_id` or `cluster:array_task` (`dev:12_3`); of a reused job id the newest.

    Raises NotFound.
    """
    return _one(session, _wanted(viewer, ident).options(*_DETAILS), ident)


def id_of(session: Session, viewer: Identity, ident: str) -> str:
    """The id of the same run. Raises NotFound."""
    found: str | None = session.scalar(_wanted(viewer, ident).with_only_columns(Run.id))
    if found is None:
        raise _not_there(ident)
    return found


def ids_of(session: Session, viewer: Identity, ids: Iterable[str]) -> list[str]:
    """These ids. Raises NotFound when the run of one may not be seen."""
    wanted = set(ids)
    found = list(session.scalars(select(Run.id).where(Run.id.in_(wanted), visible_to(viewer))))
    _all_there(wanted, found)
    return found


def _all_there(wanted: set[str], found: Iterable[str]) -> None:
    missing = wanted - set(found)
    if missing:
        raise _not_there(min(missing))


def _not_there(ident: str) -> NotFound:
    return NotFound(f"There is no run `{ident[:80]}` that you may see.")


def get_locked(session: Session, viewer: Identity, ident: str) -> Run:
    """The same run, locked until the transaction ends, without details."""
    return _one(session, _wanted(viewer, ident).with_for_update(of=Run), ident)


def all_locked(session: Session, viewer: Identity, ids: Iterable[str]) -> list[Run]:
    """The runs with these ids, locked until the transaction ends. Raises NotFound when one may not be seen."""
    wanted = set(ids)
    query = select(Run).where(Run.id.in_(wanted), visible_to(viewer)).order_by(Run.id).with_for_update(of=Run)
    found = list(session.scalars(query))
    _all_there(wanted, (run.id for run in found))
    return found


def _wanted(viewer: Identity, ident: str) -> Select[Run]:
    return select(Run).where(_identifies(ident), visible_to(viewer)).order_by(Run.created_at.desc()).limit(1)


def _one(session: Session, query: Select[Run], ident: str) -> Run:
    run = session.scalar(query)
    if run is None:
        raise _not_there(ident)
    return run


def _identifies(ident: str) -> ColumnElement[bool]:
    named = _JOB_NAME.match(ident)
    if not named:
        try:
            return Run.id == str(uuid.UUID(ident))
        except ValueError:
            return Run.id == ""
    cluster, job_id = Run.cluster == named["cluster"], int(named["job"])
    if named["task"]:
        return and_(cluster, Run.array_job_id == job_id, Run.array_task_id == int(named["task"]))
    return and_(cluster, Run.job_id == job_id)


def add(session: Session, *, experiment: Experiment, now: datetime, **facts: Any) -> Run:
    """Make a run. `created_at` is now unless given; other facts are columns."""
    return add_all(session, [facts], experiment=experiment, now=now)[0]


def add_all(
    session: Session, rows: Iterable[Mapping[str, Any]], *, experiment: Experiment, now: datetime
) -> list[Run]:  # fmt: skip
    """Make a run of each row, as `add` does: one statement for any number of them."""
    made = [Run(**{"created_at": now, "updated_at": now, **facts}, experiment_id=experiment.id) for facts in rows]
    for run in made:
        run.id = run.id or new_id(run.created_at, (run.array_job_id or run.job_id or 0) + (run.array_task_id or 0))
    session.add_all(made)
    session.flush()
    return made


def new_id(created_at: datetime, job_id: int = 0) -> str:
    """A new UUID of version 7: it begins with the milliseconds since 1970, so that runs lie in order of age.

    Slurm's times are whole seconds: the runs of one second lie in order of their job ids, which come next.
    """
    chance = (job_id & 0xFFFF_FFFF) << 42 | secrets.randbits(42)
    bits = round(created_at.timestamp() * 1000) << 80 | 7 << 76 | chance >> 62 << 64 | 2 << 62 | chance & (1 << 62) - 1
    return str(uuid.UUID(int=bits))


def lock(session: Session, run_id: str) -> Run | None:
    """The run, locked until the transaction ends; None if there is none."""
    return session.scalar(select(Run).where(Run.id == run_id).with_for_update(of=Run))


def of_job(session: Session, cluster: str, job_id: int, at: datetime, *, starting: bool = False) -> Run | None:
    """The run that held this job id at that moment, locked; ids are reused, so the newest one submitted by then.

    With `starting`, a job starts for the first time at that moment: a run that was over before is of an older job.
    """
    query = (
        select(Run)
        .where(Run.cluster == cluster, Run.job_id == job_id)
        .where(or_(Run.submitted_at.is_(None), Run.submitted_at <= at + CLOCK_SLACK))
        .order_by(Run.created_at.desc())
        .limit(1)
    )
    run = session.scalar(query.with_for_update(of=Run))
    was_over = run is not None and run.state_source == "accounting" and run.ended_at is not None
    return None if run and starting and was_over and run.ended_at + CLOCK_SLACK < at else run  # type: ignore[operator]


def of_cluster(
    session: Session,
    cluster: str,
    job_ids: Iterable[int],
    array_job_ids: Iterable[int] = (),
    array_task_ids: Iterable[int] | None = None,
) -> list[Run]:
    """Runs of these jobs and arrays, of arrays only these tasks if some are given, oldest first."""
    asked = {"jobs": {*job_ids}, "arrays": {*array_job_ids}, "tasks": {*(array_task_ids or ())}}
    of_arrays = _OF_ARRAYS if array_task_ids is None else and_(_OF_ARRAYS, among(_RUNS.array_task_id, "tasks"))
    query = select(Run).where(Run.cluster == cluster, or_(among(_RUNS.job_id, "jobs"), of_arrays))
    return list(session.scalars(query.order_by(Run.created_at), asked))


def without_job_id(session: Session, cluster: str, tasks: Collection[tuple[int, int]]) -> list[Run]:
    """Tasks (array id and task) that have no job id, as far as we know, and perhaps others; oldest first."""
    asked = {"arrays": {one for one, _ in tasks}, "tasks": {one for _, one in tasks}}
    named = (Run.cluster == cluster, _OF_ARRAYS, among(_RUNS.array_task_id, "tasks"), Run.job_id.is_(None))
    return list(session.scalars(select(Run).where(*named).order_by(Run.created_at), asked))


@dataclass(frozen=True)
class LiveJob:
    """The job of a run that waits or runs."""

    run_id: str
    user: str | None
    job_id: int | None
    array_job_id: int | None
    array_task_id: int | None


_LIVE_JOB = (Run.id, Run.user, Run.job_id, Run.array_job_id, Run.array_task_id)


def live(session: Session, cluster: str, before: datetime) -> list[LiveJob]:
    """Jobs of the cluster that are in its queue as far as we know, and whose runs were made before that moment."""
    query = select(*_LIVE_JOB).where(Run.cluster == cluster, Run.state.in_(LIVE_STATES), Run.created_at < before)
    return [LiveJob(*row) for row in session.execute(query)]


def live_among(
    session: Session, cluster: str, job_ids: Iterable[int], tasks: Sequence[tuple[int, int]]
) -> list[LiveJob]:
    """The same of these jobs, and of arrays with any of these tasks (array id and task), of any age."""
    asked = {"jobs": {*job_ids}, "arrays": {one for one, _ in tasks}, "tasks": {one for _, one in tasks}}
    named = or_(among(_RUNS.job_id, "jobs"), and_(_OF_ARRAYS, among(_RUNS.array_task_id, "tasks")))
    query = select(*_LIVE_JOB).where(Run.cluster == cluster, Run.state.in_(LIVE_STATES), named)
    return [LiveJob(*row) for row in session.execute(query, asked)]


class JobState(NamedTuple):
    """The state of a run, by its job."""

    run_id: str
    state: str
    job_id: int | None
    array_job_id: int | None
    task_id: int | None


def states_of(session: Session, viewer: Identity, cluster: str, job_ids: Iterable[int]) -> list[JobState]:
    """The states of these jobs and of all tasks of these arrays that may be seen, oldest first; 5,000 at most."""
    asked = {"jobs": {*job_ids}, "arrays": {*job_ids}}
    columns = Run.id, Run.state, Run.job_id, Run.array_job_id, Run.array_task_id
    query = select(*columns).where(
        Run.cluster == cluster, or_(among(_RUNS.job_id, "jobs"), _OF_ARRAYS), visible_to(viewer)
    )
    return [JobState(*row) for row in session.execute(query.order_by(Run.created_at).limit(5000), asked)]


def due(session: Session, cluster: str, limit: int) -> list[str]:
    """Ids of runs about which accounting must be asked, the ones that changed first first."""
    query = select(Run.id).where(Run.cluster == cluster, Run.accounting_due).order_by(Run.updated_at).limit(limit)
    return list(session.scalars(query))


def job_ids(session: Session, ids: Iterable[str]) -> dict[str, int]:
    """The job id of each of these runs; of an array's task that has none yet the array's."""
    rows = session.execute(select(Run.id, Run.job_id, Run.array_job_id).where(_WITH_IDS), {"ids": list(ids)})
    return {run_id: one for run_id, job_id, array_job_id in rows if (one := job_id or array_job_id)}


def by_ids(session: Session, ids: Iterable[str]) -> list[Run]:
    """These runs as they are now, locked; those that are gone are left out."""
    query = select(Run).where(_WITH_IDS).order_by(Run.id).with_for_update(of=Run)
    return list(session.scalars(query, {"ids": list(ids)}))


def over(session: Session, jobs: Iterable[tuple[str, int]], ids: Iterable[str]) -> list[Run]:
    """Of the runs of these jobs and with these ids those that are over for good, the newest of a job only.

    A silent one may speak again.
    """
    jobs, ids = set(jobs), set(ids)
    if not (jobs or ids):
        return []
    asked = {"clusters": {one for one, _ in jobs}, "jobs": {one for _, one in jobs}, "ids": ids}
    newest: dict[tuple[str | None, int | str], Run] = {}
    for run in session.scalars(select(Run).where(or_(_OF_JOBS, _WITH_IDS)).order_by(Run.created_at), asked):
        if (run.cluster, run.job_id) in jobs or run.id in ids:
            newest[(run.cluster, run.job_id or run.id)] = run
    ended = [run for run in newest.values() if run.state in FINAL_STATES and not run.accounting_due]
    return [run for run in ended if not silence.is_silent(run)]


def begun_in_jobs_that_are_over(session: Session) -> list[tuple[Run, Run]]:
    """Live runs that scripts began beside that of their job, locked, each with its job's run, which is over.

    Those that somebody else has locked are left for the next time.
    """
    parent = aliased(Run)
    query = (
        select(Run, parent)
        .join(parent, Run.parent_id == parent.id)
        .where(Run.state.in_(LIVE_STATES), parent.state.in_(FINAL_STATES), parent.accounting_due.is_(False))
        .where(or_(parent.state != LOST, func.coalesce(parent.reason, "") != silence.SILENT))
    )
    return [(run, job) for run, job in session.execute(query.with_for_update(of=Run, skip_locked=True))]


def holders(session: Session, viewer: Identity) -> list[Run]:
    """Runs that hold nodes now, with their attempts and GPUs."""
    gpus = selectinload(Run.attempts).selectinload(Attempt.gpus)
    return list(session.scalars(select(Run).where(visible_to(viewer), Run.state.in_(LIVE_STATES[1:])).options(gpus)))


def remove(run: Run, now: datetime) -> None:
    """Delete the run: nobody sees it any more. Its row stays, so that Slurm and kept spools cannot bring it back.

    Raises Conflict when it has not ended.
    """
    if run.state in LIVE_STATES:
        raise Conflict(f"Run {run.id} is {run.state}; it can be deleted when it has ended.")
    run.deleted_at = run.updated_at = now


def counts_by_state(session: Session, viewer: Identity) -> dict[str, int]:
    """How many runs the viewer may see in each state."""
    query = select(Run.state, func.count()).where(visible_to(viewer)).group_by(Run.state)
    return dict(session.execute(query).all())


def changes(run: Run, **facts: Any) -> bool:
    """Set what is known (None is unknown) and say whether anything was different."""
    different = False
    for name, value in facts.items():
        if value is not None and getattr(run, name) != value:
            setattr(run, name, value)
            different = True
    return different
