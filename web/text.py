"""Text that anybody could have written, made harmless to look at."""

from __future__ import annotations

import re
from typing import Any

from markupsafe import Markup

from tracker.terminal import Style, seen

MOST_SPANS = 500  # of one piece of output: a browser must not suffer from a colour for each letter

_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]"
)


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


def coloured(output: str) -> Markup:
    """A program's output as a terminal shows it; its colours are classes of `span`s."""
    room = MOST_SPANS
    lines: list[Markup] = []
    for pieces in seen(output):
        line = Markup("")
        for style, words in pieces:
            names = _class_names(style) if room > 0 else ""
            room -= bool(names)
            line += Markup('<span class="{}">{}</span>').format(names, harmless(words)) if names else harmless(words)
        lines.append(line)
    return Markup("\n").join(lines)


def _class_names(style: Style) -> str:
    names = [f"t-{name}" for name in ("bold", "dim", "italic", "underline") if getattr(style, name)]
    return " ".join(names + ([f"t-{style.colour % 8}"] if style.colour is not None else []))
