"""Which changes are new since the last look."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

from flask import json

from tracker.store import changes
from tracker.store.changes import ClusterFacts, RunFacts
from tracker.store.database import Database, Session
from tracker.store.identity import Identity

LATE = timedelta(seconds=60)
"""A change may be committed so long after the moment that it bears."""
LONGEST_AWAY = timedelta(hours=1)
MOST_MISSED = 1000
_CLUSTERS_EVERY = timedelta(seconds=5)


@dataclass(frozen=True)
class Event:
    """An event as it is sent, and the run that one must be allowed to see for it; None: for everybody."""

    text: bytes
    run: RunFacts | None = None

    def is_for(self, viewer: Identity) -> bool:
        """Whether the viewer may know of it."""
        return self.run is None or self.run.visible_to(viewer)


class Watch:
    """Remembers what was seen of the last minute; what had changed before the first look is not told."""

    def __init__(self, db: Database) -> None:
        """Look for the first time. Raises DatabaseUnavailable."""
        self._db = db
        self._looked_at = self._clusters_at = datetime.now(timezone.utc)
        self._clusters: dict[str, ClusterFacts] = {}
        self._seen: dict[str, tuple[RunFacts, datetime]] = {}
        self.look()

    def look(self) -> list[Event]:
        """The events since the last look. Raises DatabaseUnavailable."""
        now = datetime.now(timezone.utc)
        with self._db.read() as session:
            found = changes.runs_since(session, self._looked_at - LATE)
            told = self._of_clusters(session, now)
        before, self._seen = self._seen, {one[0].id: one for one in found}
        self._looked_at = now
        for facts, changed_at in found:
            known_facts, known_at = before.get(facts.id, (None, None))
            if facts != known_facts:
                told.append(_of_run(facts, now))
            if changed_at != known_at and facts.deleted_at is None:
                told.append(_of_series(facts, now))
        return told

    def _of_clusters(self, session: Session, now: datetime) -> list[Event]:
        if self._clusters and now - self._clusters_at < _CLUSTERS_EVERY:
            return []
        before, self._clusters = self._clusters, {one.name: one for one in changes.clusters(session)}
        self._clusters_at = now
        return [
            Event(_text("jobs", now, asdict(one))) for name, one in self._clusters.items() if before.get(name) != one
        ]


def missed(db: Database, moment: datetime) -> list[Event]:
    """What a client missed that was away since then. It was away too long, or too much happened: it is told `reset`.

    Raises DatabaseUnavailable.
    """
    now = datetime.now(timezone.utc)
    found = []
    if now - moment < LONGEST_AWAY:
        with db.read() as session:
            found = changes.runs_since(session, moment - LATE)
        if len(found) <= MOST_MISSED:
            return [event for facts, _ in found for event in (_of_run(facts, now), _of_series(facts, now))]
    return [Event(_text("reset", now, {}))]


def greeting() -> bytes:
    """The first event of a client: from this moment on it hears all."""
    now = datetime.now(timezone.utc)
    return _text("ready", now, {"as_of": now})


def _of_run(facts: RunFacts, now: datetime) -> Event:
    told = asdict(facts)
    deleted_at = told.pop("deleted_at")
    return Event(_text("run", now, {"id": facts.id, "deleted": True} if deleted_at else told), facts)


def _of_series(facts: RunFacts, now: datetime) -> Event:
    return Event(_text("series", now, {"run": facts.id}), facts)


def _text(kind: str, now: datetime, data: dict[str, Any]) -> bytes:
    told = {name: _utc(one) if isinstance(one, datetime) else one for name, one in data.items()}
    return f"event: {kind}\nid: {round(now.timestamp() * 1e6)}\ndata: {json.dumps(told)}\n\n".encode()


def _utc(moment: datetime) -> str:
    return moment.astimezone(timezone.utc).isoformat().replace("+00:00", "Z")
