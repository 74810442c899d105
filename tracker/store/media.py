"""Media: images, histograms and tables that runs logged at steps."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, insert, select
from sqlalchemy.orm import Session, undefer

from tracker.errors import NotFound
from tracker.store.tables import Medium, Writer

MOST_MEDIA = 2000
MOST_BYTES = 256 * 1024 * 1024
"""Media of one run, and their bytes altogether."""
IMAGE, HISTOGRAM, TABLE = KINDS = ("image", "histogram", "table")
_SIGNATURES = {
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF87a": "image/gif",
    b"GIF89a": "image/gif",
}


@dataclass(frozen=True)
class Shown:
    """What a run logged under one name: how much of it, and the last of the lowest rank that logged it."""

    kind: str
    name: str
    count: int
    last_step: int
    last_id: str


@dataclass(frozen=True)
class Histograms:
    """Histograms of one name, by step; `count` there are, fewer are here if that is more than was asked for."""

    steps: list[int]
    histograms: list[dict[str, Any]]
    count: int


def image_type(raw: bytes) -> str | None:
    """The content type that the bytes begin like: PNG, JPEG, GIF or WebP; None for anything else."""
    if raw[:4] == b"RIFF" and raw[8:12] == b"WEBP":
        return "image/webp"
    return next((name for signature, name in _SIGNATURES.items() if raw.startswith(signature)), None)


def add(session: Session, run_id: str, rows: Sequence[dict[str, Any]]) -> int:
    """Keep media, each with all its columns but run and size, in the order logged.

    A run has at most MOST_MEDIA of MOST_BYTES; the answer counts those that were too many and are not kept.
    """
    if not rows:
        return 0
    held = select(func.count(), func.sum(Medium.size_bytes)).where(Medium.run_id == run_id)
    count, size_bytes = session.execute(held).one()
    kept: list[dict[str, Any]] = []
    for row in rows:
        size_bytes = (size_bytes or 0) + len(row["content"])
        if count + len(kept) >= MOST_MEDIA or size_bytes > MOST_BYTES:
            break
        kept.append({"run_id": run_id, "size_bytes": len(row["content"]), **row})
    if kept:
        session.execute(insert(Medium), kept)
    return len(rows) - len(kept)


def shown(session: Session, run_id: str, limit: int) -> list[Shown]:
    """The names under which a run logged media, by kind and name, at most `limit` of them."""
    name = (Medium.kind, Medium.name)
    newest = func.row_number().over(
        partition_by=name, order_by=(Writer.rank, Medium.step.desc(), Medium.logged_at.desc(), Medium.writer)
    )
    ranked = (
        select(*name, Medium.step, Medium.writer, Medium.offset_bytes, newest.label("place"))
        .add_columns(func.count().over(partition_by=name).label("logged"))
        .join(Writer, (Writer.run_id == Medium.run_id) & (Writer.name == Medium.writer))
        .where(Medium.run_id == run_id)
        .subquery()
    )
    found = session.execute(
        select(ranked).where(ranked.c.place == 1).order_by(ranked.c.kind, ranked.c.name).limit(limit)
    )
    return [Shown(one.kind, one.name, one.logged, one.step, f"{one.writer}.{one.offset_bytes}") for one in found]


def find(
    session: Session, run_id: str, *, kind: str | None = None, name: str | None = None, limit: int = MOST_MEDIA
) -> list[tuple[Medium, int]]:
    """Media of a run without their content, each with its rank: by kind, name, step and the time they were logged."""
    query = (
        select(Medium, Writer.rank)
        .join(Writer, (Writer.run_id == Medium.run_id) & (Writer.name == Medium.writer))
        .where(Medium.run_id == run_id)
        .order_by(Medium.kind, Medium.name, Medium.step, Medium.logged_at, Medium.writer, Medium.offset_bytes)
        .limit(limit)
    )
    if kind:
        query = query.where(Medium.kind == kind)
    if name:
        query = query.where(Medium.name == name)
    return [(medium, rank) for medium, rank in session.execute(query)]


def get(session: Session, run_id: str, medium_id: str) -> Medium:
    """One medium with its content. Raises NotFound."""
    writer, _, offset = medium_id.rpartition(".")
    offset_bytes = int(offset) if offset.isascii() and offset.isdigit() and len(offset) < 19 else -1
    mine = (Medium.run_id == run_id, Medium.writer == writer, Medium.offset_bytes == offset_bytes)
    found = session.scalar(select(Medium).where(*mine).options(undefer(Medium.content)))
    if found is None:
        raise NotFound(f"This run has no medium `{medium_id[:80]}`.")
    return found


def histograms(session: Session, run_id: str, name: str, most: int) -> Histograms:
    """Histograms of the lowest rank that logged them, the last one of each step; of many every n-th and the last.

    Raises NotFound.
    """
    found = find(session, run_id, kind=HISTOGRAM, name=name)
    if not found:
        raise NotFound(f"This run has no histogram `{name[:80]}`.")
    lowest = min(rank for _, rank in found)
    by_step = {medium.step: medium for medium, rank in found if rank == lowest}
    steps = sorted(by_step)
    every = -(-len(steps) // most)
    chosen = sorted({*steps[::every], steps[-1]})[-most:]
    contents = {step: get(session, run_id, by_step[step].id).content for step in chosen}
    return Histograms(chosen, [json.loads(contents[step]) for step in chosen], len(steps))
