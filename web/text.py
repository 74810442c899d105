"""Text that anybody could have written, made harmless to look at."""

from __future__ import annotations

import re
from typing import Any

from markupsafe import Markup

_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]"
)
_TERMINAL_CODE = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b\n]*(?:\x07|\x1b\\)?|[PX^_][^\x1b\n]*(?:\x1b\\)?|[ -/]*[0-~])"
    r"|\x9b[0-?]*[ -/]*[@-~]"
)
_DRAWN_OVER = re.compile(r"[^\n]*\r(?!\n|\Z)")


def harmless(value: Any) -> Any:
    """The text with a visible sign for each character that would hide, turn round or steer text. Other values stay."""
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    return _UNSEEN.sub(_sign, value)


def _sign(found: re.Match[str]) -> str:
    code = ord(found[0])
    if code < 0x20:
        return chr(0x2400 + code)
    return "\u2421" if code == 0x7F else f"\u27e8U+{code:04X}\u27e9"


def shorten(value: str | None, length: int = 80) -> str:
    """At most `length` characters of the text, the cut shown."""
    value = value or ""
    return value if len(value) <= length else f"{value[: length - 1]}…"


def as_seen_in_terminal(output: str) -> str:
    """A program's output without terminal codes; of a line drawn over and over (a progress bar) its last state."""
    return _DRAWN_OVER.sub("", _TERMINAL_CODE.sub("", output).replace("\r\n", "\n")).replace("\r", "")
