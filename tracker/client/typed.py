"""What annotations need, without `typing`: loading that takes 3 ms, for which a training would wait.

Type checkers take any name TYPE_CHECKING for true.
"""

from __future__ import annotations

from collections import namedtuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NamedTuple
else:

    class _FromAnnotations(type):
        def __new__(cls, name: str, bases: tuple[type, ...], given: dict[str, Any]) -> type:
            if not bases:
                return super().__new__(cls, name, bases, given)
            fields = given.pop("__annotations__")
            made = namedtuple(name, fields, defaults=[given.pop(field) for field in fields if field in given])
            for key, value in given.items():
                setattr(made, key, value)
            return made

    class NamedTuple(metaclass=_FromAnnotations):
        """`typing.NamedTuple` as far as it is used here: fields with or without a default, and methods."""


__all__ = ["TYPE_CHECKING", "NamedTuple"]
