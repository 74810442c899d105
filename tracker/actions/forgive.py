"""Read a line that is nearly JSON: as programs write it that know no better word for what is not finite."""

from __future__ import annotations

import json
import re
from typing import Any

_NOT_FINITE = re.compile(r"(?<=[:,\[])\s*(-?)(nan|inf|infinity)(?=\s*[,}\]])", re.IGNORECASE)
_MOST_DIGITS = 19  # of 64 bits


def forgiven(line: bytes) -> Any:
    """What a line says that is JSON but for `NaN`, `inf` and the like, or for bytes that are no UTF-8; else None."""
    text = _NOT_FINITE.sub(_quoted, line.decode("utf-8", "replace"))
    try:
        return json.loads(text, parse_int=_whole)
    except (ValueError, RecursionError):
        return None


def _quoted(word: re.Match[str]) -> str:
    return '"NaN"' if word[2].lower() == "nan" else f'"{word[1]}Infinity"'


def _whole(digits: str) -> int | float:
    return int(digits) if len(digits) <= _MOST_DIGITS else float(digits)
