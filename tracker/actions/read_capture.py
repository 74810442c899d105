"""Understand what a script told of itself (docs/spool.md, `capture`): every part of it may be of any kind and size."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import islice
from typing import Any

from tracker.actions.read_values import text

MOST_ATTEMPTS = 1_000_000
Read = Callable[[Any], Any]


def read_capture(message: dict[str, Any]) -> dict[str, Any]:
    """What of the message has the form it should have, cut to size; the rest is left out."""
    content: dict[str, Any] = _fields(_PARTS)(message)
    return content


def attempt_of(message: dict[str, Any]) -> int:
    """The attempt that the script belonged to, from 1."""
    attempt = message.get("attempt")
    return attempt if type(attempt) is int and 1 <= attempt <= MOST_ATTEMPTS else 1


def _text(most_chars: int) -> Read:
    return lambda value: text(value, most_chars)


def _commit(value: Any) -> str | None:
    return value if isinstance(value, str) and re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", value) else None


def _truth(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None


def _count(value: Any) -> int | None:
    return value if type(value) is int and 0 <= value < 2**53 else None


def _list(most: int, most_chars: int) -> Read:
    read = _text(most_chars)

    def read_all(value: Any) -> list[str]:
        return [one for one in map(read, islice(value, most)) if one] if isinstance(value, list) else []

    return read_all


def _texts_by_name(most: int, most_chars: int) -> Read:
    name, read = _text(500), _text(most_chars)

    def read_all(value: Any) -> dict[str, str]:
        pairs = islice(value.items(), most) if isinstance(value, dict) else ()
        return {known: read(one) or "" for key, one in pairs if (known := name(key)) and isinstance(one, str)}

    return read_all


def _fields(parts: dict[str, Read]) -> Read:
    def read_all(value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            return {}
        told = {name: read(value[name]) for name, read in parts.items() if name in value}
        return {name: one for name, one in told.items() if one not in (None, [], {})}

    return read_all


_NAME, _PATH, _LINE = _text(200), _text(4096), _text(2000)
_NOTES = _list(50, 500)
_PARTS: dict[str, Read] = {
    "argv": _list(2000, 20_000),
    "cwd": _PATH,
    "script": _fields({"text": _text(100_000), "hidden_lines": _count}),
    "git": _fields(
        {
            "root": _PATH,
            "branch": _text(500),
            "commit": _commit,
            "remote": _LINE,
            "dirty": _truth,
            "diff": _text(600_000),
            "changed": _list(501, 4100),
            "not_in_diff": _texts_by_name(500, 500),
            "untracked": _list(501, 4100),
            "notes": _NOTES,
        }
    ),
    "python": _fields({"version": _NAME, "implementation": _NAME, "executable": _PATH, "prefix": _PATH}),
    "packages": _list(2000, 300),
    "modules": _list(500, 300),
    "conda": _fields({"name": _NAME, "prefix": _PATH}),
    "venv": _PATH,
    "container": _fields({"kind": _NAME, "image": _LINE}),
    "host": _fields({"name": _NAME, "system": _NAME, "machine": _NAME, "cpus": _count}),
    "env": _texts_by_name(400, 4000),
    "notes": _NOTES,
}
