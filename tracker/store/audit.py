"""The audit log: who changed rights, deleted something or was refused, when and from where."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

from sqlalchemy import and_, delete, func, or_, select
from sqlalchemy.orm import Session

from tracker.errors import BadInput
from tracker.store.tables import AuditEntry

MOST_CHARS = 500
"""So much is kept of each text."""
_CURSOR = re.compile(r"(\d{1,18})\.([0-9a-f]{16})\Z")
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


@dataclass(frozen=True)
class Page:
    """Some entries, newest first, and where the next page begins; None on the last."""

    items: list[AuditEntry]
    next_cursor: str | None


def note(
    session: Session, actor: str | None, action: str, target: str = "", detail: str = "", *, address: str | None = None
) -> None:
    """Write down that `actor` did `action` (a word such as `run.delete` or `refused`) to `target`.

    It is stored with the transaction of the session. Texts may be anything that a user sent: what cannot be printed is
    replaced, and the rest is cut at MOST_CHARS.
    """
    texts = {"actor": actor or "", "address": address or "", "action": action, "target": target, "detail": detail}
    printable = {name: _printable(text) for name, text in texts.items()}
    session.add(AuditEntry(id=secrets.token_hex(8), at=datetime.now(timezone.utc), **printable))


def _printable(text: str) -> str:
    kept = text if len(text) <= MOST_CHARS else text[: MOST_CHARS - 1] + "…"
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in kept)


def find(
    session: Session,
    *,
    actor: str | None = None,
    action: str | None = None,
    since: datetime | None = None,
    limit: int = 100,
    cursor: str | None = None,
) -> Page:
    """Entries that fit, newest first; `action` is a word or the beginning of one such as `token.`.

    Raises BadInput for a cursor that is not ours.
    """
    query = select(AuditEntry).order_by(AuditEntry.at.desc(), AuditEntry.id.desc()).limit(limit + 1)
    if actor is not None:
        query = query.where(AuditEntry.actor == actor)
    if action is not None:
        query = query.where(AuditEntry.action.startswith(action, autoescape=True))
    if since is not None:
        query = query.where(AuditEntry.at >= since)
    if cursor:
        at, ident = _read(cursor)
        query = query.where(or_(AuditEntry.at < at, and_(AuditEntry.at == at, AuditEntry.id < ident)))
    found = list(session.scalars(query))
    last = found[limit - 1] if len(found) > limit else None
    return Page(found[:limit], None if last is None else f"{round(last.at.timestamp() * 1e6)}.{last.id}")


def _read(cursor: str) -> tuple[datetime, str]:
    parts = _CURSOR.match(cursor) if cursor.isascii() else None
    try:
        if parts:
            return _EPOCH + timedelta(microseconds=int(parts[1])), parts[2]
    except OverflowError:
        pass
    raise BadInput("This cursor is not one of ours; start again without `cursor`.")


def count(session: Session, before: datetime) -> int:
    """How many entries are older."""
    return session.scalar(select(func.count()).select_from(AuditEntry).where(AuditEntry.at < before)) or 0


def forget(session: Session, before: datetime, limit: int) -> int:
    """Remove up to `limit` of the entries that are older; answer how many."""
    old = select(AuditEntry.id).where(AuditEntry.at < before).order_by(AuditEntry.at).limit(limit)
    done = session.execute(
        delete(AuditEntry).where(AuditEntry.id.in_(old)), execution_options={"synchronize_session": False}
    )
    return int(done.rowcount)  # type: ignore[attr-defined]
