"""Media: images, histograms and tables that runs logged at steps."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
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
    """What a run logged under one name: how much of it, and the last that is to be shown."""

    kind: str
    name: str
    count: int
    last_step: int
    last_id: str


@dataclass(frozen=True)
class Found:
    """A medium without its content; which rank logged it in which attempt, and whether it is to be shown."""

    medium: Medium
    rank: int
    attempt: int
    is_shown: bool


@dataclass(frozen=True)
class Histograms:
    """Histograms of one name, by step; `count` there are, fewer are here if that is more than was asked for."""

    steps: list[int]
    histograms: list[dict[str, Any]]
    count: int


_RESTARTS = func.coalesce(Writer.restarts, 0)


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
        partition_by=name,
        order_by=(Writer.rank, _RESTARTS.desc(), Medium.step.desc(), Medium.logged_at.desc(), Medium.writer),
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


def find(session: Session, run_id: str, *, kind: str | None = None, name: str | None = None) -> list[Found]:
    """Media of a run by kind, name, step and the time they were logged.

    Of each name those are to be shown that the lowest rank logged, the last of each step. What an earlier attempt
    logged from that step on where a later one begins is not: the later one logs it again.
    """
    query = (
        select(Medium, Writer.rank, _RESTARTS)
        .join(Writer, (Writer.run_id == Medium.run_id) & (Writer.name == Medium.writer))
        .where(Medium.run_id == run_id)
        .order_by(Medium.kind, Medium.name, Medium.step, Medium.logged_at, Medium.writer, Medium.offset_bytes)
    )
    if kind:
        query = query.where(Medium.kind == kind)
    if name:
        query = query.where(Medium.name == name)
    found: list[Found] = []
    for _, rows in groupby(session.execute(query), key=lambda row: (row[0].kind, row[0].name)):
        of_name = [(medium, rank, restarts + 1) for medium, rank, restarts in rows]
        current = set(_current(of_name).values())
        found += [Found(*one, is_shown=one[0] in current) for one in of_name]
    return found


def _current(of_name: list[tuple[Medium, int, int]]) -> dict[int, Medium]:
    """What is to be shown of one name, by step."""
    lowest = min(rank for _, rank, _ in of_name)
    attempts: dict[int, list[Medium]] = {}
    for medium, rank, attempt in of_name:
        if rank == lowest:
            attempts.setdefault(attempt, []).append(medium)
    current: dict[int, Medium] = {}
    for _, logged in sorted(attempts.items()):
        begin = logged[0].step
        current = {step: medium for step, medium in current.items() if step < begin}
        current.update((medium.step, medium) for medium in logged)
    return current


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
    """Histograms that are to be shown; of more than `most` every n-th, and the last. Raises NotFound."""
    found = find(session, run_id, kind=HISTOGRAM, name=name)
    if not found:
        raise NotFound(f"This run has no histogram `{name[:80]}`.")
    shown = [one.medium for one in found if one.is_shown]
    every = -(-len(shown) // most)
    chosen = shown[-1::-every][::-1]
    contents = [json.loads(get(session, run_id, medium.id).content) for medium in chosen]
    return Histograms([medium.step for medium in chosen], contents, len(shown))
