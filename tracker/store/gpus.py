"""GPUs as intervals: who had which one when. Several may have one at the same time."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any, NamedTuple

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    and_,
    case,
    func,
    or_,
    select,
    tuple_,
    type_coerce,
    update,
)
from sqlalchemy.orm import Session

from tracker.errors import BadInput
from tracker.store.identity import Identity
from tracker.store.runs import visible_to
from tracker.store.tables import Attempt, Experiment, Gpu, Run

_SLACK_US = 5_000_000
"""An Epilog that comes so much before the end of the attempt gave its node back earlier than the others."""
_LATELY = timedelta(days=7)
ENDED_AT = func.coalesce(Gpu.ended_at, Run.ended_at)
"""When it was free again: a run that Slurm lost has an end, but its attempt has none. None: it is held."""


def settle(session: Session, run_ids: Sequence[str]) -> None:
    """Bring the GPUs of these runs to what is known of their attempts by now: one statement for any number of them.

    A GPU is held as long as its attempt has its allocation, suspended or not; Slurm counts it to the end of the job,
    but for a node that was given back well before.
    """
    released, ended = type_coerce(Gpu.released_at, BigInteger), type_coerce(Attempt.ended_at, BigInteger)
    until = case(
        (ended.is_(None), released),
        (and_(released.is_not(None), released < ended - _SLACK_US), released),
        else_=ended,
    )
    mine = (Gpu.run_id == Attempt.run_id, Gpu.attempt == Attempt.number)
    # Each by itself, and the ids one by one: else SQLite reads all attempts, or all GPUs.
    began, over = (
        select(figure).where(*mine).correlate(Gpu).scalar_subquery()
        for figure in (type_coerce(Attempt.started_at, BigInteger), until)
    )
    statement = update(Gpu).where(Gpu.run_id.in_(run_ids)).values(started_at=began, ended_at=over)
    if run_ids:
        session.execute(statement, execution_options={"synchronize_session": False})


class Holding(NamedTuple):
    """Who had a GPU, from when to when; None: it has it still."""

    cluster: str | None
    node: str
    index: int  # type: ignore[assignment]  # a tuple's own `index` is of no use here
    uuid: str | None
    mig: str | None
    type: str | None
    started_at: datetime | None
    ended_at: datetime | None
    run_id: str
    attempt: int
    state: str
    shards: int | None
    job_id: int | None
    array_job_id: int | None
    array_task_id: int | None
    name: str | None
    user: str | None
    account: str | None
    experiment: str


@dataclass(frozen=True)
class Page:
    """Some holdings, and where the next page begins; None on the last."""

    items: list[Holding]
    next_cursor: str | None


@dataclass(frozen=True)
class Asked:
    """Which GPUs, and when: `since` and `until` are the same for a single moment."""

    cluster: str | None = None
    node: str | None = None
    index: int | None = None
    uuid: str | None = None
    since: datetime | None = None
    until: datetime | None = None


_PLACE = (Gpu.started_at, Gpu.run_id, Gpu.attempt, Gpu.node, Gpu.index)
_COLUMNS = (
    Gpu.cluster, Gpu.node, Gpu.index, Gpu.uuid, Gpu.mig, Gpu.type, Gpu.started_at,
    type_coerce(ENDED_AT, Gpu.ended_at.type), Gpu.run_id, Gpu.attempt, Attempt.state, Attempt.shards, Run.job_id,
    Run.array_job_id, Run.array_task_id, Run.name, Run.user, Run.account, Experiment.name,
)  # fmt: skip


def find(session: Session, viewer: Identity, asked: Asked, *, limit: int, cursor: str | None = None) -> Page:
    """Who had these GPUs in that time, the last one to get one first. Raises BadInput for a cursor that is not ours."""
    order = [column.desc() for column in _PLACE]
    places = select(*_PLACE).join(Run, Run.id == Gpu.run_id).where(visible_to(viewer), *_conditions(asked))
    if cursor:
        places = places.where(tuple_(*_PLACE) < tuple_(*_read(cursor), types=[column.type for column in _PLACE]))
    # Which ones comes first, along an index; what is shown of them is read of those alone.
    found_at = places.order_by(*order).limit(limit + 1).subquery()
    same = and_(*(found_at.c[column.name] == column for column in _PLACE[1:]))
    query = (
        select(*_COLUMNS)
        .select_from(found_at)
        .join(Gpu, same)
        .join(Run, Run.id == Gpu.run_id)
        .join(Experiment, Experiment.id == Run.experiment_id)
        .join(Attempt, and_(Attempt.run_id == Gpu.run_id, Attempt.number == Gpu.attempt))
        .order_by(*order)
    )
    found = [Holding(*row) for row in session.execute(query)]
    return Page(found[:limit], _cursor_at(found[limit - 1]) if len(found) > limit else None)


def _conditions(asked: Asked) -> list[ColumnElement[bool]]:
    named: dict[Any, Any] = {Gpu.cluster: asked.cluster, Gpu.node: asked.node, Gpu.index: asked.index}
    if asked.uuid is not None:
        named[Gpu.mig if asked.uuid.startswith("MIG-") else Gpu.uuid] = asked.uuid
    found: list[ColumnElement[bool]] = [column == value for column, value in named.items() if value is not None]
    started_at: Any = Gpu.started_at
    if asked.since is not None:
        found.append(or_(Gpu.ended_at.is_(None), Gpu.ended_at > asked.since))
        if asked.since > datetime.now(timezone.utc) - _LATELY:  # few have ended since: they are found by their ends
            started_at = type_coerce(type_coerce(Gpu.started_at, BigInteger) + 0, Gpu.started_at.type)
    found.append(started_at > datetime.fromtimestamp(0, tz=timezone.utc))
    return found + overlaps(started_at, ENDED_AT, asked.since, asked.until)


def overlaps(
    started_at: Any, ended_at: Any, since: datetime | None, until: datetime | None
) -> list[ColumnElement[bool]]:
    """The conditions that an interval has a part in a window, of which either end may be open."""
    is_moment = since is not None and since == until
    found = [] if until is None else [started_at <= until if is_moment else started_at < until]
    end = None if since is None else type_coerce(ended_at, Gpu.ended_at.type)
    return found if end is None else [*found, or_(end.is_(None), end > since)]


def _cursor_at(last: Holding) -> str:
    assert last.started_at is not None
    place = [round(last.started_at.timestamp() * 1e6), last.run_id, last.attempt, last.node, last.index]
    return base64.urlsafe_b64encode(json.dumps(place).encode()).decode().rstrip("=")


def _read(cursor: str) -> tuple[Any, ...]:
    try:
        started_us, run_id, attempt, node, index = json.loads(
            base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        )
        numbers = all(type(one) is int and 0 <= one < 2**62 for one in (started_us, attempt, index))
        texts = all(isinstance(one, str) and "\0" not in one and one.isprintable() for one in (run_id, node))
        if numbers and texts:
            started_at = datetime.fromtimestamp(started_us / 1e6, tz=timezone.utc)
            return started_at, run_id, attempt, node, index
    except (ValueError, TypeError, OverflowError, OSError, RecursionError, binascii.Error):
        pass
    raise BadInput("This cursor is not one of ours; start again without `cursor`.")
