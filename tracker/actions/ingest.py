"""The one door: everything that agents deliver comes in here (docs/protocol.md).

Requests that come while others are stored are stored together next, in one transaction: see
docs/decisions/014-together.md.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any

from tracker.actions.admit import admit
from tracker.actions.answer_delivery import follow, gpus, release, tell, tokens
from tracker.actions.end_beside import end_beside
from tracker.actions.read_delivery import Delivery, read_delivery
from tracker.actions.store_known import KnownDoor, Memory
from tracker.actions.store_lines import Sent, store_lines
from tracker.actions.take_parts import Intake, take_part
from tracker.actions.together import Together, Undone
from tracker.errors import DatabaseUnavailable, Forbidden, TooMany, TrackerError
from tracker.store import clocks, known_runs
from tracker.store.database import Database, is_outage
from tracker.store.identity import Identity
from tracker.store.known_runs import KnownRun

log = logging.getLogger("tracker.ingest")

ALONE_FROM_BYTES = 256 * 1024
"""A request that long would gain little by company, and its company would wait for it."""

Answer = dict[str, Any]
Take = Callable[[Sequence[Intake], Sequence[KnownRun]], list[list[Answer]]]


class Door:
    """Where the agents of one process deliver; any number of threads at once."""

    def __init__(self, db: Database, log_tail_bytes: int) -> None:
        self._db = db
        self._log_tail_bytes = log_tail_bytes
        self._memory = Memory()
        self._of_known = KnownDoor(db, self._memory, log_tail_bytes) if db.is_postgresql else None
        self.together: Together[Delivery, Answer] = Together(self._in_company)
        self._lock = threading.Lock()
        self._delivering: set[str] = set()

    def take(self, identity: Identity, body: bytes, now: datetime) -> Answer:
        """Store what an agent delivers, all of it in one transaction; answer as docs/protocol.md says.

        `now` is when the request arrived, before it waited for anything: the agent's clock is measured by it.

        Raises Forbidden when the sender may not deliver that, TooMany while a person's last delivery is being
        stored, BadManifest when the request is not understood.
        """

        def read() -> Delivery:
            delivery = read_delivery(body, now)
            return delivery if identity.reports_all else admit(self._db, identity, delivery)

        with self._turn(identity):
            if identity.may_ingest and len(body) < ALONE_FROM_BYTES:
                try:
                    return self.together.do(read())
                except Undone as undone:  # whosever fault it is: what went wrong comes again to whom it concerns
                    if isinstance(undone.__cause__, DatabaseUnavailable):
                        raise DatabaseUnavailable(str(undone.__cause__)) from undone
            return self._alone(read)

    @contextmanager
    def _turn(self, identity: Identity) -> Iterator[None]:
        """Let a person deliver one thing at a time, and alone: nobody waits long for what another one sends."""
        if identity.may_ingest:
            yield
            return
        with self._lock:
            if identity.user in self._delivering:
                raise TooMany("Your last delivery is still being stored; send the next one after it.")
            self._delivering.add(identity.user)
        try:
            yield
        finally:
            with self._lock:
                self._delivering.discard(identity.user)

    def _in_company(self, deliveries: Sequence[Delivery]) -> list[Answer]:
        try:
            found = self._of_known.take(deliveries) if self._of_known else {}
            others = [place for place in range(len(deliveries)) if place not in found]
            if others:
                stored = self._store([deliveries[place] for place in others], _together)
                found.update(zip(others, stored, strict=True))
            return [found[place] for place in range(len(deliveries))]
        except DatabaseUnavailable:
            raise
        except Exception:  # it is told to all of them
            log.warning("%d deliveries could not be stored together; each is by itself", len(deliveries), exc_info=True)
            raise

    def _alone(self, read: Callable[[], Delivery]) -> Answer:
        try:
            return self._store([read()], _together)[0]
        except Exception as problem:  # the outermost place of a request: as above
            if isinstance(problem, (DatabaseUnavailable, Forbidden)):
                raise
        return self._store([read()], _one_by_one)[0]

    def _store(self, deliveries: Sequence[Delivery], take: Take) -> list[Answer]:
        with self._db.write() as session:
            jobs = set[tuple[str, int]]().union(*(one.jobs for one in deliveries))
            ids = set[str]().union(*(one.ids for one in deliveries))
            known = known_runs.reserve(session, jobs, ids)
            skews = clocks.behind(session, [one.measured for one in deliveries])
            intakes = [
                Intake(session, one, skew or timedelta(0), self._log_tail_bytes, self._memory.note)
                for one, skew in zip(deliveries, skews, strict=True)
            ]
            parts = take(intakes, known)
            session.flush()
            released = release(session, deliveries)
            if any(released):
                end_beside(session, max(one.now for one in deliveries))
            wishes, told = follow(session, deliveries, self._log_tail_bytes), tell(session, deliveries)
            return [
                {"parts": answers, "follow": wanted, "release": names, "gpus": gpus(session, one), "tell": said}
                | {"tokens": tokens(session, one)}
                for one, answers, wanted, names, said in zip(deliveries, parts, wishes, released, told, strict=True)
            ]


def _together(intakes: Sequence[Intake], known: Sequence[KnownRun]) -> list[list[Answer]]:
    """Take what brings only lines as one, then the others in their order.

    A part that is refused is told so; what fails otherwise leaves all of it undone.
    """
    found: dict[int, list[Answer]] = {}
    plain = [place for place, intake in enumerate(intakes) if intake.delivery.is_plain]
    lines = [one for place in plain for one in _lines_by_place(intakes[place]).values()]
    answers = iter(_lines(intakes[0], lines, known))
    for place in plain:
        found[place] = [next(answers) for _ in intakes[place].delivery.parts]
    for place, intake in enumerate(intakes):
        if place not in found:
            found[place] = _in_order(intake)
            intake.session.flush()
            intake.session.expire_all()  # the next one finds everything as if it came alone
    return [found[place] for place in range(len(intakes))]


def _in_order(intake: Intake) -> list[Answer]:
    """Take the parts in their order, lines that follow each other together."""
    answers: list[Answer] = []
    lines = _lines_by_place(intake)
    for is_lines, group in groupby(enumerate(intake.delivery.parts), lambda one: one[0] in lines):
        if is_lines:
            answers += _lines(intake, [lines[place] for place, _ in group])
        else:
            answers += [_part(intake, place) for place, _ in group]
    return answers


def _part(intake: Intake, place: int) -> Answer:
    """Take a part by itself, or say why not: the others are stored all the same."""
    lines = _lines_by_place(intake)
    if place in intake.delivery.refused:
        return _refusal(intake.delivery.refused[place])
    try:
        with intake.session.begin_nested():
            if place in lines:
                return _lines(intake, [lines[place]])[0]
            return take_part(intake, *intake.delivery.parts[place])
    except TrackerError as problem:
        return _refusal(problem)


def _one_by_one(intakes: Sequence[Intake], _known: Sequence[KnownRun]) -> list[list[Answer]]:
    """Take each part as a whole or not at all: one that we cannot store must not hold up the others."""
    return [[_whole(intake, place) for place in range(len(intake.delivery.parts))] for intake in intakes]


def _whole(intake: Intake, place: int) -> Answer:
    try:
        return _part(intake, place)
    except Exception as problem:  # the outermost place of a part
        if is_outage(problem):
            raise
        log.exception("a part of %s of %s cannot be stored", intake.delivery.node, intake.delivery.cluster)
        return {"error": {"code": "internal", "detail": "The server could not store this; its log tells why."}}


def _lines_by_place(intake: Intake) -> dict[int, Sent | TrackerError]:
    """The delivery's lines, with what is known of the clock that told their times."""
    lines, skew = intake.delivery.lines, intake.skew
    if not skew:
        return lines
    return {place: replace(one, skew=skew) if isinstance(one, Sent) else one for place, one in lines.items()}


def _lines(
    intake: Intake, sent: Sequence[Sent | TrackerError], known: Sequence[KnownRun] | None = None
) -> list[Answer]:  # fmt: skip
    usable = [one for one in sent if isinstance(one, Sent)]
    held = iter(store_lines(intake.session, usable, intake.learn, known))
    answers = [next(held) if isinstance(one, Sent) else one for one in sent]
    return [{"offset": one} if isinstance(one, int) else _refusal(one) for one in answers]


def _refusal(problem: TrackerError) -> Answer:
    return {"error": {"code": problem.code, "detail": str(problem)}}
