"""Understand single values that others wrote: text, numbers, moments. Nothing about them is trusted."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any

import orjson

MAX_NAME_CHARS = 500
MAX_TEXT_CHARS = 20_000
MAX_NESTING = 8
MAX_TIME_S = 253_402_300_799  # the end of the year 9999
_INT64 = range(-(2**63), 2**63)
_WORDS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def flattened(tree: dict[str, Any], prefix: str = "", depth: int = 0) -> Iterator[tuple[str, Any]]:
    """The leaves of nested objects, each under its path `a/b`, in order."""
    for key, value in tree.items():
        path = f"{prefix}{clean(key)}"[:MAX_NAME_CHARS]
        if isinstance(value, dict) and depth < MAX_NESTING:
            yield from flattened(value, path + "/", depth + 1)
        elif path:
            yield path, value


def clean(words: str) -> str:
    """Text that both databases can keep: without NUL bytes and halves of characters."""
    return words.replace("\0", "").encode("utf-8", "replace").decode()


def text(value: Any, most_chars: int = MAX_TEXT_CHARS) -> str | None:
    """A text no longer than that; None for what is no text or empty."""
    return clean(value)[:most_chars] or None if isinstance(value, str) else None


def as_text(value: Any) -> str:
    """Any value as a text: what is none as its JSON, if that can be written."""
    try:
        plain = value if isinstance(value, str) else orjson.dumps(value).decode()
    except TypeError:  # nested too deeply, or with halves of characters
        plain = f"a {type(value).__name__} that cannot be written as JSON"
    return clean(plain)[:MAX_TEXT_CHARS]


def number(value: Any) -> float | None:
    """A number, or what one of the three words means; None for anything else. A whole one of 64 bits stays exact."""
    if isinstance(value, (int, float)):
        return value if type(value) is int and value in _INT64 else float(value)
    return _WORDS.get(value) if isinstance(value, str) else None


def whole(value: Any) -> int | None:
    """A whole number of 64 bits; None for anything else."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if type(value) is int and value in _INT64 else None


def said_at(message: dict[str, Any]) -> float | None:
    """The line's time in seconds since 1970; None if it tells none."""
    at = message.get("time")
    return float(at) if isinstance(at, (int, float)) and 0 <= at <= MAX_TIME_S else None


def moment(message: dict[str, Any], now_s: float) -> float:
    """The line's time in seconds since 1970; now if it tells none."""
    at = said_at(message)
    return now_s if at is None else at


def utc(time_s: float) -> datetime:
    """The moment that many seconds after 1970 began."""
    return datetime.fromtimestamp(time_s, tz=timezone.utc)
