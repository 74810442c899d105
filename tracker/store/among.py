"""Whether a column's value is among many: a statement of the same text for any number of them, by one parameter.

SQLAlchemy's own `IN` makes a parameter of each, which costs more than looking them up.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import orjson
from sqlalchemy import ColumnElement, Dialect, Text, bindparam, types
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement


class _Many(types.TypeDecorator[Collection[Any]]):
    """Texts or whole numbers: an array of PostgreSQL's, or JSON."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Collection[Any] | None, dialect: Dialect) -> Any:
        """What the driver takes."""
        told = list(value or ())
        return told if dialect.name == "postgresql" else orjson.dumps(told).decode()


class _Among(FunctionElement[bool]):
    name = "among"
    type = types.Boolean()
    inherit_cache = True


@compiles(_Among, "postgresql")
def _as_array(element: _Among, compiler: Any, **options: Any) -> str:
    column, values = (compiler.process(one, **options) for one in element.clauses)
    return f"{column} = ANY({values})"


@compiles(_Among, "sqlite")
def _as_json(element: _Among, compiler: Any, **options: Any) -> str:
    column, values = (compiler.process(one, **options) for one in element.clauses)
    return f"{column} IN (SELECT value FROM json_each({values}))"


def among(column: ColumnElement[Any], name: str) -> ColumnElement[bool]:
    """The condition that the column has one of the values that the parameter of this name brings."""
    return _Among(column, bindparam(name, type_=_Many()))
