"""What a handler takes and answers, said where it is: from this the OpenAPI document is made (`openapi.py`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel

from tracker.errors import TrackerError
from web.api.models import NoQuery

Handler = TypeVar("Handler", bound=Callable[..., Any])
Model = type[BaseModel]


@dataclass(frozen=True)
class Described:
    """What a handler takes and answers; by content type a model of JSON, or None for anything else."""

    query: Model
    body: Mapping[str, Model | None]
    answers: Mapping[str, Model | None]
    status: int
    errors: tuple[type[TrackerError], ...]


def described(
    answers: Model | Mapping[str, Model | None] | None = None,
    *,
    query: Model = NoQuery,
    body: Model | Mapping[str, Model | None] | None = None,
    status: int = 200,
    errors: tuple[type[TrackerError], ...] = (),
) -> Callable[[Handler], Handler]:
    """Say of a handler what it takes and answers, and which errors it knows besides those of all."""

    def keep(handler: Handler) -> Handler:
        handler.described = Described(query, _contents(body), _contents(answers), status, errors)  # type: ignore[attr-defined]
        return handler

    return keep


def _contents(what: Model | Mapping[str, Model | None] | None) -> Mapping[str, Model | None]:
    if what is None:
        return {}
    return what if isinstance(what, Mapping) else {"application/json": what}
