"""Params, tags and notes: what people say about a run."""

from __future__ import annotations

import math

from sqlalchemy import select
from sqlalchemy.orm import Session

from tracker.store.tables import Note, Param, Run, Tag
from tracker.store.upsert import upsert


def set_params(session: Session, run_id: str, params: dict[str, str]) -> None:
    """Set parameters by their text; others stay."""
    upsert(
        session, Param, [{"run_id": run_id, "key": key, "value": v, "number": _number(v)} for key, v in params.items()]
    )


def _number(value: str) -> float | None:
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def set_tags(session: Session, run_id: str, tags: dict[str, str]) -> None:
    """Set tags; others stay."""
    upsert(session, Tag, [{"run_id": run_id, "key": key, "value": value} for key, value in tags.items()])


def add_notes(session: Session, run_id: str, reasons: dict[str, str]) -> None:
    """Keep why things could not be stored; one note per key."""
    upsert(session, Note, [{"run_id": run_id, "key": key, "reason": reason} for key, reason in reasons.items()])


def notes(session: Session, run: Run) -> list[Note]:
    """What clients of the run could not store, by key."""
    return list(session.scalars(select(Note).where(Note.run_id == run.id).order_by(Note.key)))
