"""Packed points may have rests, and levels have means: an older tracker cannot read these"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import sqlalchemy as sa
from alembic import op

from tracker.store import batches
from tracker.store.points import Points

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

_ROWS_AT_ONCE = 100
_SEGMENTS = sa.table(
    "segments",
    *map(sa.column, ("run_id", "metric", "writer", "start")),
    *(sa.column(name, sa.LargeBinary) for name in ("points", "fine", "coarse")),
)
_BATCHES = sa.table("batches", *map(sa.column, ("run_id", "writer", "number")), sa.column("content", sa.LargeBinary))


def upgrade() -> None:
    """Go to this form: what is packed already stays as it is, and is read."""


def downgrade() -> None:
    """Go back to the form before: whole numbers beyond 2^53 are rounded, and means are made anew if they come back."""
    bind = op.get_bind()
    has_more = sa.func.substr(_SEGMENTS.c.points, 4, 1) >= sa.literal(b"\x80", sa.LargeBinary)
    for row in _rows(_SEGMENTS, 4, has_more | _SEGMENTS.c.fine.is_not(None)):
        plain = {
            name: None if packed is None else _plain(packed) for name, packed in zip(_SEGMENTS.c.keys()[4:], row[4:])
        }
        bind.execute(_SEGMENTS.update().where(_is(_SEGMENTS, row[:4])).values(plain))
    for *key, content in _rows(_BATCHES, 3, sa.true()):
        blocks = batches.unpack(content)
        if any(block.rests is not None for block in blocks):
            rounded = batches.pack([replace(block, rests=None) for block in blocks])
            bind.execute(_BATCHES.update().where(_is(_BATCHES, key)).values(content=rounded))


def _plain(packed: bytes) -> bytes:
    return replace(Points.unpacked(packed), rests=None).packed()


def _is(table: sa.TableClause, key: list[object]) -> sa.ColumnElement[bool]:
    return sa.and_(*(column == value for column, value in zip(table.c, key, strict=False)))


def _rows(table: sa.TableClause, of_key: int, wanted: sa.ColumnElement[bool]) -> Iterator[list[Any]]:
    """The rows of a table, some at a time, in the order of their keys."""
    key = list(table.c)[:of_key]
    after: sa.ColumnElement[bool] = sa.true()
    while rows := op.get_bind().execute(
        sa.select(table).where(wanted, after).order_by(*key).limit(_ROWS_AT_ONCE)
    ).all():  # fmt: skip
        yield from map(list, rows)
        after = sa.tuple_(*key) > sa.tuple_(*rows[-1][:of_key])
