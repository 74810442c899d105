"""Captures: what the scripts of a run were when they started, packed."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
from sqlalchemy import func, select
from sqlalchemy.orm import Session, undefer

from tracker.store.tables import Capture, Run
from tracker.store.upsert import upsert

MOST_CAPTURES = 20  # of a run


@dataclass(frozen=True)
class Captured:
    """One capture as it was told, in the form of docs/spool.md."""

    writer: str
    captured_at: datetime
    attempt: int
    content: dict[str, Any]


def keep(
    session: Session, run_id: str, writer: str, *, captured_at: datetime, attempt: int, content: dict[str, Any]
) -> bool:
    """Keep what a script told, one capture per writer. False when the run has as many as it may have."""
    others = select(func.count()).where(Capture.run_id == run_id, Capture.writer != writer)
    if session.execute(others.select_from(Capture)).scalar_one() >= MOST_CAPTURES:
        return False
    git = content.get("git", {})
    row = {
        "run_id": run_id, "writer": writer, "captured_at": captured_at, "attempt": attempt,
        "program": _program(content.get("argv", [])), "branch": git.get("branch"), "commit": git.get("commit"),
        "dirty": git.get("dirty"), "content": zlib.compress(orjson.dumps(content)),
    }  # fmt: skip
    upsert(session, Capture, [row])
    return True


def _program(argv: list[str]) -> str | None:
    """The file that was called rather than the interpreter: `train.py` of `python -u train.py`."""
    named = [one for one in argv if one.endswith((".py", ".R", ".jl", ".sh"))] or argv
    return named[0].rsplit("/", 1)[-1][:200] if named else None


def heads(session: Session, run: Run) -> list[Capture]:
    """The captures of a run, the first one first, without their content."""
    return list(session.scalars(select(Capture).where(Capture.run_id == run.id).order_by(*_ORDER)))


def find(session: Session, run: Run, writer: str | None = None) -> list[Captured]:
    """The captures of a run with their content, the first one first; of one writer where one is named."""
    query = select(Capture).where(Capture.run_id == run.id).options(undefer(Capture.content)).order_by(*_ORDER)
    if writer is not None:
        query = query.where(Capture.writer == writer)
    return [
        Captured(one.writer, one.captured_at, one.attempt, orjson.loads(zlib.decompress(one.content)))
        for one in session.scalars(query)
    ]


_ORDER = (Capture.captured_at, Capture.writer)
