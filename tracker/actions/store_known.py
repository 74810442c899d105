"""Store deliveries that go on where this process stored the last ones: most of them do, and bring nothing but points.

Whoever brings anything else, or is not as this process knows it, is left to the other way (see ingest.py), which takes
ten times the statements and teaches this one what it learns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from tracker.actions.answer_delivery import follow, tell
from tracker.actions.apply_lines import is_more_than_points
from tracker.actions.correct_times import is_settled
from tracker.actions.read_delivery import Delivery
from tracker.actions.store_lines import Sent, next_step
from tracker.errors import DatabaseUnavailable
from tracker.events import JobFolder, run_of_writer
from tracker.store import clocks, known_writers, series, summaries
from tracker.store.batches import Brought
from tracker.store.database import Connection, Database
from tracker.store.known_runs import KnownRun
from tracker.store.known_writers import Onward
from tracker.store.writers import HeldWriter

MOST_KNOWN = 20_000
"""Writers that a process remembers: a kilobyte each."""


class _Known(NamedTuple):
    run: KnownRun
    writer: HeldWriter


class Memory:
    """Writers, and their runs, as this process left them when it stored lines of theirs last."""

    def __init__(self) -> None:
        self._known: dict[tuple[JobFolder, str], _Known] = {}

    def note(self, folder: JobFolder, run: KnownRun, writer: HeldWriter) -> None:
        """Remember how a writer was left, but not of runs that scripts begin beside their job's: two rows are asked."""
        if run_of_writer(writer.name) is None:
            if len(self._known) >= MOST_KNOWN:
                self._known.clear()
            self._known[folder, writer.name] = _Known(run, replace(writer))

    def knows(self, sent: Sent) -> bool:
        """Whether these lines begin where a writer was left."""
        known = self._known.get((sent.folder, sent.writer))
        return known is not None and known.writer.offset_bytes == sent.offset_bytes

    def onward(self, sent: Sent, skew: timedelta) -> Onward | None:
        """How the writer goes on with these lines; None if it is not known, or if they are more than that."""
        known, said = self._known.get((sent.folder, sent.writer)), sent.said
        if known is None or not said.points.lines or said.rejected or said.things or is_more_than_points(said):
            return None
        run, writer = known
        if writer.first_step is None or writer.offset_bytes != sent.offset_bytes or not is_settled(writer, skew):
            return None
        if said.notes or said.points.notes or (sent.user and run.user and sent.user != run.user):
            return None
        start, now_us = writer.next_step, round(sent.now.timestamp() * 1_000_000)
        blocks = said.points.blocks(start=start, now_us=now_us, skew_us=writer.clock_skew_us)
        after = replace(
            writer, offset_bytes=sent.end_bytes, next_step=next_step(start, said.points), batches=writer.batches + 1
        )
        brought = Brought(run.id, writer.name, writer.batches, blocks)
        return Onward(run, writer, after, brought) if blocks else None


class KnownDoor:
    """Where deliveries are stored that need no more than that; of PostgreSQL."""

    def __init__(self, db: Database, memory: Memory, log_tail_bytes: int) -> None:
        self._db, self._memory, self._log_tail_bytes = db, memory, log_tail_bytes

    def take(self, deliveries: Sequence[Delivery]) -> dict[int, dict[str, Any]]:
        """By their places what is answered to those that were stored, all of them by one statement."""
        plain = {place: one for place, one in enumerate(deliveries) if self._may_go_on(one)}
        if not plain:
            return {}
        try:
            with self._db.by_key() as connection:
                onward = self._onward(connection, plain)
                if onward and self._store(connection, onward, max(plain[place].now for place in onward)):
                    return self._answers(connection, plain, onward)
        except DatabaseUnavailable:
            pass  # the other way finds out whether it is, and what of this was stored
        return {}

    def _may_go_on(self, delivery: Delivery) -> bool:
        asked = delivery.folders("folders") or delivery.folders("gpus_of") or delivery.manifest.get("tokens_of")
        lines = delivery.lines.values() if delivery.is_plain and not asked else ()
        return bool(lines) and all(isinstance(one, Sent) and self._memory.knows(one) for one in lines)

    def _onward(self, connection: Connection, deliveries: dict[int, Delivery]) -> dict[int, list[Onward]]:
        """How the writers go on of which each delivery brings lines, by place; all of a delivery's are known."""
        skews = clocks.steady(connection, [one.measured for one in deliveries.values()])
        found: dict[int, list[Onward]] = {}
        taken: set[tuple[str, str]] = set()
        for (place, delivery), skew in zip(deliveries.items(), skews, strict=True):
            some = None if skew is None else self._of_delivery(delivery, skew)
            keys = {(one.after.run_id, one.after.name) for one in some or ()}
            if some and len(keys) == len(some) and taken.isdisjoint(keys):
                found[place] = some
                taken |= keys
        return found

    def _of_delivery(self, delivery: Delivery, skew: timedelta) -> list[Onward] | None:
        found = []
        for sent in delivery.lines.values():
            onward = self._memory.onward(sent, skew) if isinstance(sent, Sent) else None
            if onward is None:
                return None
            found.append(onward)
        told = [(one.brought, one.after.restarts or 0, one.after.rank) for one in found]
        return found if summaries.are_known(series.metrics_of(told)) else None

    def _store(self, connection: Connection, onward: dict[int, list[Onward]], now: datetime) -> bool:
        return known_writers.store(connection, [one for some in onward.values() for one in some], now)

    def _answers(
        self, connection: Connection, deliveries: dict[int, Delivery], onward: dict[int, list[Onward]]
    ) -> dict[int, dict[str, Any]]:
        stored = [deliveries[place] for place in onward]
        wishes, told = follow(connection, stored, self._log_tail_bytes), tell(connection, stored)
        answers = {}
        for (place, some), wanted, said in zip(onward.items(), wishes, told, strict=True):
            for sent, one in zip(deliveries[place].lines.values(), some, strict=True):
                assert isinstance(sent, Sent)
                self._memory.note(sent.folder, one.run, one.after)
            parts = [{"offset": one.after.offset_bytes} for one in some]
            nothing: dict[str, Any] = {"release": [], "gpus": {}, "tokens": {}}
            answers[place] = {"parts": parts, "follow": wanted, "tell": said, **nothing}
        return answers
