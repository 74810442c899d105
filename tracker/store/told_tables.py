"""The tables of what scripts and jobs tell of themselves: params, tags, captures, outputs and things that they made."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Computed, ForeignKey, Index, String, Text, types
from sqlalchemy.orm import Mapped, MappedColumn, mapped_column

from tracker.store.table import Table

HEAD_CHARS = 64


def _head() -> MappedColumn[str]:
    """The beginning of `value`, which the database keeps itself: indexes take no long texts. In order of bytes."""
    kind = String(HEAD_CHARS, collation="C").with_variant(String(HEAD_CHARS), "sqlite")
    return mapped_column(kind, Computed(f"substr(value, 1, {HEAD_CHARS})", persisted=True), deferred=True)


class Param(Table):
    """A parameter of a run; `value` is its text, `number` its value when it is a number."""

    __tablename__ = "params"
    __table_args__ = (
        Index("ix_params_number", "key", "number", "run_id"),
        Index("ix_params_head", "key", "head", "run_id"),
    )
    run_id: Mapped[str] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True)
    key: Mapped[str] = mapped_column(String(512), primary_key=True)
    value: Mapped[str] = mapped_column(Text)
    number: Mapped[float | None]
    head: Mapped[str] = _head()


class Tag(Table):
    """A tag of a run."""

    __tablename__ = "tags"
    __table_args__ = (Index("ix_tags_head", "key", "head", "run_id"),)
    run_id: Mapped[str] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True)
    key: Mapped[str] = mapped_column(String(512), primary_key=True)
    value: Mapped[str] = mapped_column(Text)
    head: Mapped[str] = _head()


class Note(Table):
    """Something that a client could not store, and why."""

    __tablename__ = "notes"
    run_id: Mapped[str] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True)
    key: Mapped[str] = mapped_column(String(512), primary_key=True)
    reason: Mapped[str] = mapped_column(Text)


class Capture(Table):
    """What a script was when it started: what lists show of it, and `content`, all of it (see store/captures.py)."""

    __tablename__ = "captures"
    run_id: Mapped[str] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True)
    writer: Mapped[str] = mapped_column(String(64), primary_key=True)
    captured_at: Mapped[datetime]
    attempt: Mapped[int]
    program: Mapped[str | None] = mapped_column(Text)
    branch: Mapped[str | None] = mapped_column(Text)
    commit: Mapped[str | None] = mapped_column(String(64))
    dirty: Mapped[bool | None]
    content: Mapped[bytes] = mapped_column(deferred=True)


class Log(Table):
    """An output stream of a run: where it is written, and how far it is stored.

    `offset_bytes` is the next byte wanted of the file, which `file` identifies; `left_out_bytes` were jumped over, as
    they came too fast. `pieces` counts all pieces there ever were, `kept_bytes` what the kept ones hold.
    """

    __tablename__ = "logs"
    __table_args__ = (Index("ix_logs_followed", "complete", "node"),)
    run_id: Mapped[str] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True)
    stream: Mapped[str] = mapped_column(String(8), primary_key=True)
    path: Mapped[str] = mapped_column(Text)
    node: Mapped[str | None] = mapped_column(Text)
    uid: Mapped[int | None]
    file: Mapped[str | None] = mapped_column(String(40))
    offset_bytes: Mapped[int] = mapped_column(default=0)
    left_out_bytes: Mapped[int] = mapped_column(default=0)
    kept_bytes: Mapped[int] = mapped_column(default=0)
    pieces: Mapped[int] = mapped_column(default=0)
    complete: Mapped[bool] = mapped_column(default=False)
    problem: Mapped[str | None] = mapped_column(Text)


class LogPiece(Table):
    """A piece of an output stream, numbered from 0, without what was drawn over in it.

    `left_out_bytes` came before it and were jumped over; `anew`: the file was written anew before it.
    """

    __tablename__ = "log_pieces"
    run_id: Mapped[str] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True)
    stream: Mapped[str] = mapped_column(String(8), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    content: Mapped[bytes]
    left_out_bytes: Mapped[int] = mapped_column(default=0)
    anew: Mapped[bool] = mapped_column(default=False)


class Artifact(Table):
    """A file or a folder that a run made. `id` is the client's; `file_count` and `files` are of a folder only.

    `copied_to`: the store that keeps a copy by the digest. `problem`: why there is no digest.
    """

    __tablename__ = "artifacts"
    __table_args__ = (Index("ix_artifacts_logged", "run_id", "logged_at"),)
    run_id: Mapped[str] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True)
    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    name: Mapped[str] = mapped_column(Text)
    path: Mapped[str] = mapped_column(Text)
    size_bytes: Mapped[int]
    modified_at: Mapped[datetime | None]
    logged_at: Mapped[datetime]
    step: Mapped[int | None]
    sha256: Mapped[str | None] = mapped_column(String(64))
    copied_to: Mapped[str | None] = mapped_column(Text)
    problem: Mapped[str | None] = mapped_column(Text)
    file_count: Mapped[int | None]
    files: Mapped[list[dict[str, Any]]] = mapped_column(types.JSON, default=list, deferred=True)


class Medium(Table):
    """An image as it came, or a histogram or table as JSON: a line at `offset_bytes` of a writer's file."""

    __tablename__ = "media"
    __table_args__ = (Index("ix_media_shown", "run_id", "kind", "name", "step"),)
    run_id: Mapped[str] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True)
    writer: Mapped[str] = mapped_column(String(64), primary_key=True)
    offset_bytes: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(String(16))
    name: Mapped[str] = mapped_column(String(512))
    step: Mapped[int]
    logged_at: Mapped[datetime]
    size_bytes: Mapped[int]
    content_type: Mapped[str] = mapped_column(String(32))
    content: Mapped[bytes] = mapped_column(deferred=True)

    @property
    def id(self) -> str:
        """How it is called within its run."""
        return f"{self.writer}.{self.offset_bytes}"
