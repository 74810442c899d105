"""Params, tags and notes: what people say about a run."""

from __future__ import annotations

import math

from sqlalchemy import select
from sqlalchemy.orm import Session

from tracker.store.tables import Note, Param, Run, Tag


def set_params(session: Session, run_id: str, params: dict[str, str]) -> None:
    """Set parameters by their text; others stay."""
    for key, value in params.items():
        session.merge(Param(run_id=run_id, key=key, value=value, number=_number(value)))


def _number(value: str) -> float | None:
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def set_tags(session: Session, run_id: str, tags: dict[str, str]) -> None:
    """Set tags; others stay."""
    for key, value in tags.items():
        session.merge(Tag(run_id=run_id, key=key, value=value))


def add_note(session: Session, run_id: str, key: str, reason: str) -> None:
    """Keep why something could not be stored; one note per key."""
    session.merge(Note(run_id=run_id, key=key, reason=reason))


def notes(session: Session, run: Run) -> list[Note]:
    """What clients of the run could not store, by key."""
    return list(session.scalars(select(Note).where(Note.run_id == run.id).order_by(Note.key)))
