"""Moments of a run's waits: when it was submitted, when it became eligible, and why it waited from then on."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from tracker.store.tables import Moment, Run
from tracker.store.upsert import upsert

SUBMITTED, ELIGIBLE, PENDING = "submitted", "eligible", "pending"
MOST_REASONS = 60
"""Reasons of one run that are kept, each with its moment; of those after them only the last one is, and counted."""


class Told:
    """Collects moments of many runs; `keep` stores them by one statement."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, str, datetime], dict[str, Any]] = {}
        self._more: list[tuple[str, str]] = []

    def wait(
        self, run: Run, submitted_at: datetime | None, eligible_at: datetime | None, source: str, now: datetime
    ) -> None:
        """Say when it was submitted, and when it became eligible: what lies in the future may change."""
        if submitted_at is not None:
            self._put(run.id, SUBMITTED, submitted_at, None, source)
        if eligible_at is not None and eligible_at <= now:
            self._put(run.id, ELIGIBLE, eligible_at, None, source)

    def reason(self, run: Run, at: datetime, word: str, source: str) -> None:
        """Say why it waits from that moment on."""
        run.reasons_told += 1
        if run.reasons_told <= MOST_REASONS:
            self._put(run.id, PENDING, at, word, source)
        else:
            self._more.append((run.id, word))

    def keep(self, session: Session) -> None:
        """Store what was told; what was known already is told anew."""
        session.flush()  # runs come before what is told of them
        upsert(session, Moment, list(self._rows.values()))
        for run_id, word in self._more:
            mine = (Moment.run_id == run_id, Moment.kind == PENDING)
            last = select(func.max(Moment.at)).where(*mine).scalar_subquery()
            changed = update(Moment).where(*mine, Moment.at == last)
            session.execute(changed.values(word=word, changes=Moment.changes + 1))
        self._rows, self._more = {}, []

    def _put(self, run_id: str, kind: str, at: datetime, word: str | None, source: str) -> None:
        row = {"run_id": run_id, "kind": kind, "at": at, "word": word, "source": source, "changes": 0}
        self._rows[run_id, kind, at] = row
