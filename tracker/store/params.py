"""Params, tags and notes: what people say about a run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from tracker.store.tables import Note, Param, Run, Tag
from tracker.store.upsert import upsert


def set_params(session: Session, run_id: str, params: dict[str, str]) -> None:
    """Set parameters by their text; others stay."""
    set_of_many(session, Param, [run_id], params)


def _number(value: str) -> float | None:
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def set_tags(session: Session, run_id: str, tags: dict[str, str]) -> None:
    """Set tags; others stay."""
    set_of_many(session, Tag, [run_id], tags)


def forget(session: Session, table: type[Param] | type[Tag], run_ids: Sequence[str], keys: Sequence[str]) -> None:
    """Take params or tags away from runs."""
    if keys:
        gone = delete(table).where(table.run_id.in_(run_ids), table.key.in_(keys))
        session.execute(gone, execution_options={"synchronize_session": False})


def set_of_many(session: Session, table: type[Param] | type[Tag], run_ids: Sequence[str], said: dict[str, str]) -> None:
    """Set params or tags of many runs alike; others stay."""
    rows: list[dict[str, Any]] = [{"run_id": one, "key": key, "value": v} for one in run_ids for key, v in said.items()]
    if table is Param:
        rows = [row | {"number": _number(row["value"])} for row in rows]
    upsert(session, table, rows)


def add_notes(session: Session, run_id: str, reasons: dict[str, str]) -> None:
    """Keep why things could not be stored; one note per key."""
    upsert(session, Note, [{"run_id": run_id, "key": key, "reason": reason} for key, reason in reasons.items()])


def notes(session: Session, run: Run) -> list[Note]:
    """What clients of the run could not store, by key."""
    return list(session.scalars(select(Note).where(Note.run_id == run.id).order_by(Note.key)))
