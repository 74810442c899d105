"""The timeline of a run: each fact that was told of it with its source, and the spans of time that lie between."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple

from sqlalchemy import BigInteger, Select, Text, cast, func, literal, null, or_, select, type_coerce, union_all
from sqlalchemy.orm import Session

from tracker.states import FINAL_STATES
from tracker.store import attempts, moments
from tracker.store.runs import CLOCK_SLACK
from tracker.store.tables import Attempt, HookEvent, Moment, Run, Suspension

MOST_FACTS = 1000
MOST_HOOK_EVENTS = 10_000
Doing = Literal["pending", "running", "suspended"]


@dataclass(frozen=True)
class Fact:
    """Something that happened. `detail`: the reason, the state or how many nodes; `changes`: as in moments.

    `what` is submitted, eligible, pending, allocated, prolog, suspended, resumed, epilog, requeued, ended or final.
    """

    at: datetime
    what: str
    detail: str | None
    source: str
    attempt: int | None = None
    changes: int = 0


@dataclass(frozen=True)
class Span:
    """What a run did for a while; `ended_at` is None for what it does still. `reason`: why it was pending."""

    doing: Doing
    started_at: datetime
    ended_at: datetime | None
    attempt: int | None
    reason: str | None = None


@dataclass(frozen=True)
class Timeline:
    """Facts and spans, the first one first; of more than MOST_FACTS the last ones, and then it is not `complete`."""

    facts: list[Fact]
    spans: list[Span]
    complete: bool


def read(session: Session, run: Run) -> Timeline:
    """The timeline of a run that was read with its details: one statement."""
    known = run.attempts
    told, paused, hooks = _told(session, run.id)
    facts = [*_of_waits(run, known, told), *_of_attempts(known), *_of_suspensions(known, paused)]
    facts += [*_of_hooks(known, hooks), *_final(run)]
    facts.sort(key=lambda one: (one.at, _ORDER.index(one.what)))
    spans = sorted(_spans(run, known, told, paused), key=lambda one: one.started_at)
    return Timeline(facts[-MOST_FACTS:], spans[-MOST_FACTS:], len(facts) <= MOST_FACTS and len(spans) <= MOST_FACTS)


class Told(NamedTuple):
    """A row of one of three tables: of suspensions, of moments, or of hooks' events of one kind in one attempt."""

    table: str
    at: datetime
    ended_at: datetime | None  # of hooks' events the last one
    kind: str  # of a moment; of hooks' events the hook
    word: str | None  # of hooks' events one node
    source: str
    changes: int  # of hooks' events how many nodes


def _told(session: Session, run_id: str) -> tuple[list[Told], list[Told], list[Told]]:
    """Moments, suspensions and events of hooks, each the first one first."""
    nothing, no_text, no_count = cast(null(), BigInteger), literal("", Text), literal(0, BigInteger)
    pause, moment = Suspension, Moment
    columns: tuple[Any, ...] = (
        select(literal("pauses", Text), pause.started_at, pause.ended_at, no_text, no_text, pause.source, no_count)
        .where(pause.run_id == run_id),
        select(literal("moments"), moment.at, nothing, moment.kind, moment.word, moment.source, moment.changes)
        .where(moment.run_id == run_id),
        _hooks(run_id),
    )  # fmt: skip
    found: dict[str, list[Told]] = {"moments": [], "pauses": [], "hooks": []}
    for row in session.execute(union_all(*columns)):
        found[row[0]].append(Told(*row))
    for rows in found.values():
        rows.sort(key=lambda one: one.at)
    return found["moments"], found["pauses"], found["hooks"]


def _hooks(run_id: str) -> Select[Any]:
    """Events of hooks, put together by hook and attempt in the database: a job may have thousands of nodes."""
    event = HookEvent
    events = select(func.substr(event.name, 1, 6).label("hook"), event.node, event.happened_at)
    some = events.where(event.run_id == run_id).limit(MOST_HOOK_EVENTS).subquery()
    hook, node, at = some.c.hook, some.c.node, type_coerce(some.c.happened_at, BigInteger)
    began = type_coerce(Attempt.started_at, BigInteger)
    begun_by, just_after = (  # as `attempts.begun_by` finds it
        select(func.max(Attempt.number))
        .where(Attempt.run_id == run_id, or_(began.is_(None), began <= at + slack_us))
        .correlate(some)
        .scalar_subquery()
        for slack_us in (0, CLOCK_SLACK // timedelta(microseconds=1))
    )
    columns = (literal("hooks"), func.min(at), func.max(at), hook, func.min(node), literal("hook"))
    counted = select(*columns, func.count(node.distinct())).where(hook.in_(("prolog", "epilog")))
    return counted.group_by(hook, func.coalesce(begun_by, just_after))


_ORDER = (
    "submitted", "eligible", "pending", "allocated", "prolog", "suspended", "resumed", "epilog", "ended", "requeued",
    "final",
)  # fmt: skip


def _of_waits(run: Run, known: Sequence[Attempt], told: Sequence[Told]) -> Iterator[Fact]:
    first_start = next((one.started_at for one in known if one.started_at), None)
    if run.submitted_at and not any(one.kind == moments.SUBMITTED for one in told):
        yield Fact(run.submitted_at, "submitted", None, run.state_source)
    for one in told:
        again = one.kind == moments.SUBMITTED and first_start is not None and one.at > first_start
        yield Fact(one.at, "requeued" if again else one.kind, one.word, one.source, None, one.changes)


def _of_attempts(known: Sequence[Attempt]) -> Iterator[Fact]:
    for one in known:
        if one.started_at:
            yield Fact(one.started_at, "allocated", one.nodes, one.start_source or "unknown", one.number)
        if one.ended_at:
            yield Fact(one.ended_at, "ended", one.state, one.end_source or "unknown", one.number)


def _of_suspensions(known: Sequence[Attempt], paused: Sequence[Told]) -> Iterator[Fact]:
    for one in paused:
        attempt = _number(known, one.at)
        yield Fact(one.at, "suspended", None, one.source, attempt)
        if one.ended_at and not any(other.ended_at == one.ended_at for other in known):
            yield Fact(one.ended_at, "resumed", None, one.source, attempt)


def _of_hooks(known: Sequence[Attempt], hooks: Sequence[Told]) -> Iterator[Fact]:
    """The first Prolog of an attempt and its last Epilog, and on how many nodes there were some."""
    for one in hooks:
        last_at = one.ended_at or one.at
        detail = one.word if one.changes == 1 else f"{one.changes} nodes"
        yield Fact(one.at if one.kind == "prolog" else last_at, one.kind, detail, "hook", _number(known, one.at))


def _final(run: Run) -> Iterator[Fact]:
    if run.state in FINAL_STATES and run.ended_at:
        yield Fact(run.ended_at, "final", run.state, run.state_source)


def _number(known: Sequence[Attempt], at: datetime) -> int | None:
    found = attempts.begun_by(known, at)
    return found.number if found else None


def _spans(run: Run, known: Sequence[Attempt], told: Sequence[Told], paused: Sequence[Told]) -> Iterator[Span]:
    """What it did: it waited before each attempt, and before its end if it never ran."""
    reasons = [one for one in told if one.kind == moments.PENDING]
    waits_since = run.submitted_at
    for attempt in known:
        if attempt.started_at is None:
            continue
        if waits_since and waits_since < attempt.started_at:
            yield from _wait(reasons, waits_since, attempt.started_at, attempt.number)
        until = attempt.ended_at or (run.ended_at if run.state in FINAL_STATES else None)
        yield from _ran(attempt.started_at, until, attempt.number, paused)
        waits_since = until
    is_waiting = run.state == "PENDING"
    waited_last = run.ended_at and waits_since and run.ended_at - waits_since > CLOCK_SLACK
    if waits_since and (is_waiting or waited_last or (run.ended_at and not known)):
        yield from _wait(reasons, waits_since, None if is_waiting else run.ended_at, None)


def _wait(reasons: Sequence[Told], since: datetime, until: datetime | None, attempt: int | None) -> Iterator[Span]:
    within = [one for one in reasons if since <= one.at and (until is None or one.at < until)]
    if not within or within[0].at > since:
        yield Span("pending", since, within[0].at if within else until, attempt)
    for place, one in enumerate(within):
        ended_at = within[place + 1].at if place + 1 < len(within) else until
        yield Span("pending", one.at, ended_at, attempt, one.word)


def _ran(since: datetime, until: datetime | None, attempt: int, paused: Sequence[Told]) -> Iterator[Span]:
    runs_since = since
    for one in paused:
        if one.at < since or (until is not None and one.at >= until):
            continue
        if runs_since < one.at:
            yield Span("running", runs_since, one.at, attempt)
        end = one.ended_at if until is None or (one.ended_at and one.ended_at < until) else until
        yield Span("suspended", one.at, end, attempt)
        if end is None or end == until:
            return
        runs_since = end
    yield Span("running", runs_since, until, attempt)
