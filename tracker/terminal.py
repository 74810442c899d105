"""What a terminal would show of a program's output: of a line drawn over and over (a progress bar) its last state.

Understood are what pip, tqdm and rich print: carriage return, backspace, moves by lines and columns, erasing, colours
(ECMA-48, sections 8.3.14 to 8.3.41 and 8.3.117). Other codes are left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import groupby
from typing import NamedTuple

MOST_COLUMNS = 200  # as far as a code may move the cursor to the right
_REDRAWS = re.compile(rb"\r(?!\n)|\x08|\x1b\[[0-9;]*[A-GJK]")
_DRAWN_OVER = re.compile(
    r"^(?:(?:[^\n\r\x08\x1b]|\x1b\[[0-9;]*m)*\r(?![\n\r]|\Z))+", re.MULTILINE
)  # the quick way for most bars
_TOKEN = re.compile(
    r"(?P<text>[^\x00-\x08\x0a-\x1f\x7f\x9b]+)"
    r"|(?P<move>[\r\n\x08])"
    r"|(?:\x1b\[|\x9b)(?P<numbers>[0-?]*)[ -/]*(?P<code>[@-~])"
    r"|\x1b\][^\x07\x1b\n]*(?:\x07|\x1b\\)?|\x1b[PX^_][^\x1b\n]*(?:\x1b\\)?|\x1b[ -/]*[0-~]"
    r"|(?P<other>.)",
    re.DOTALL,
)
_UNENDED = re.compile(r"\x1b(?:\[[0-?]{0,60}[ -/]{0,4}|\][^\x07\x1b\n]{0,200}|[ -/]{0,4})\Z")


class Style(NamedTuple):
    """How text looks; `colour` is one of the 16 of a terminal, or None."""

    bold: bool = False
    dim: bool = False
    italic: bool = False
    underline: bool = False
    colour: int | None = None


PLAIN = Style()
Piece = tuple[Style, str]


def condensed(raw: bytes) -> bytes:
    """Output without what was drawn over in it; more output may be joined to it. Without redraws it stays as it is."""
    raw = raw.replace(b"\r\n", b"\n")
    if not _REDRAWS.search(raw):
        return raw
    text = _DRAWN_OVER.sub("", raw.decode("utf-8", "surrogateescape"))
    screen = Screen()
    screen.write(text)
    return min(screen.encoded().encode("utf-8", "surrogateescape"), raw, key=len)


def seen(text: str) -> Iterator[list[Piece]]:
    """The lines of output as they look: pieces of text, each in one style."""
    screen = Screen()
    screen.write(_DRAWN_OVER.sub("", text))
    return screen.pieces()


def plain(text: str) -> str:
    """Output as it looks, without colours."""
    return "\n".join("".join(words for _, words in line) for line in seen(text))


class Screen:
    """Lines of cells (style, character) and a cursor, endlessly long to the bottom."""

    def __init__(self) -> None:
        self._lines: list[list[tuple[Style, str]]] = [[]]
        self._row = self._column = 0
        self._style = PLAIN
        self._unended = ""

    def write(self, text: str) -> None:
        """Print text, codes included. A code that is not ended yet stays for `encoded`."""
        unended = _UNENDED.search(text, max(0, len(text) - 256))
        if unended:
            self._unended, text = unended[0], text[: unended.start()]
        for token in _TOKEN.finditer(text):
            if token["text"]:
                self._put(token["text"])
            elif token["move"]:
                self._move(token["move"])
            elif token["code"]:
                self._obey(token["code"], token["numbers"])
            elif token["other"] and token["other"] not in "\x1b\x9b":
                self._put(token["other"])  # whoever shows it makes it harmless

    def pieces(self) -> Iterator[list[Piece]]:
        """Yield the lines as pieces of one style each, without blanks at their ends."""
        for cells in self._lines:
            line = [(style, "".join(cell[1] for cell in group)) for style, group in groupby(cells, lambda one: one[0])]
            while line and not line[-1][1].strip(" "):
                line.pop()
            if line:
                line[-1] = (line[-1][0], line[-1][1].rstrip(" "))
            yield line

    def encoded(self) -> str:
        """Return text that brings an empty screen to where this one is."""
        parts: list[str] = []
        style = PLAIN
        for number, cells in enumerate(self._lines):
            parts += "\n" if number else ""
            for wanted, group in groupby(cells, lambda one: one[0]):
                parts += [_switch(style, wanted), *(character for _, character in group)]
                style = wanted
        parts.append(_switch(style, self._style))
        below = len(self._lines) - 1 - self._row
        if below:
            parts.append(f"\x1b[{below}A")
        if below or self._column != len(self._lines[self._row]):
            parts.append(f"\x1b[{self._column + 1}G" if self._column else "\r")
        return "".join(parts) + self._unended

    def _put(self, text: str) -> None:
        line = self._lines[self._row]
        if self._column > len(line):
            line += [(PLAIN, " ")] * (self._column - len(line))
        line[self._column : self._column + len(text)] = [(self._style, character) for character in text]
        self._column += len(text)

    def _move(self, character: str) -> None:
        if character == "\b":
            self._column = max(0, self._column - 1)
            return
        self._column = 0
        if character == "\n":
            self._row += 1
            if self._row == len(self._lines):
                self._lines.append([])

    def _obey(self, code: str, numbers: str) -> None:
        if code == "m":
            self._style = _styled(self._style, numbers)
        elif code in "JK":
            self._erase(code, numbers)
        elif code in _STEPS:
            count = int(numbers[:6]) if numbers.isdecimal() else 1
            rows, columns, from_begin = _STEPS[code]
            self._go(rows * count)
            self._column = 0 if from_begin else min(max(0, self._column + columns * count), MOST_COLUMNS)
        elif code == "G":
            self._column = min(int(numbers[:6]) - 1, MOST_COLUMNS) if numbers.isdecimal() and int(numbers) else 0

    def _go(self, rows: int) -> None:
        # Who clears some lines and draws them again leaves the last one empty: it is not there any more.
        while rows < 0 and self._row and self._row == len(self._lines) - 1 and not self._lines[-1]:
            self._lines.pop()
            self._row -= 1
            rows += 1
        self._row = min(max(0, self._row + rows), len(self._lines) - 1)

    def _erase(self, code: str, numbers: str) -> None:
        line = self._lines[self._row]
        if numbers == "1" and code == "K":
            line[: self._column + 1] = [(PLAIN, " ")] * min(self._column + 1, len(line))
        elif numbers == "2" and code == "K":
            line.clear()
        elif numbers in ("", "0"):
            del line[self._column :]
            if code == "J":
                del self._lines[self._row + 1 :]


_STEPS = {"A": (-1, 0, False), "B": (1, 0, False), "C": (0, 1, False), "D": (0, -1, False), "E": (1, 0, True)}
_STEPS["F"] = (-1, 0, True)
_SWITCHES: dict[int, dict[str, bool | None]] = {
    1: {"bold": True}, 2: {"dim": True}, 3: {"italic": True}, 4: {"underline": True},
    22: {"bold": False, "dim": False}, 23: {"italic": False}, 24: {"underline": False}, 39: {"colour": None},
}  # fmt: skip


def _styled(style: Style, numbers: str) -> Style:
    said = [int(one) if one.isdecimal() and len(one) < 4 else 0 for one in re.split("[;:]", numbers)[:32]]
    while said:
        number = said.pop(0)
        if number == 0:
            style = PLAIN
        elif number in (38, 48):
            colour = _chosen(said)
            style = style._replace(colour=colour) if number == 38 else style
        elif 30 <= number <= 37 or 90 <= number <= 97:
            style = style._replace(colour=number - 30 if number < 40 else number - 82)
        elif number in _SWITCHES:
            style = Style(**{**style._asdict(), **_SWITCHES[number]})
    return style


def _chosen(said: list[int]) -> int | None:
    """One of 16 colours for one of 256 or of all: whole ones stay, others are those whose parts they have."""
    kind = said.pop(0) if said else 0
    if kind == 5 and said:
        number = said.pop(0)
        if number < 16:
            return number
        parts = [(number - 16) // 36 * 51, (number - 16) // 6 % 6 * 51, (number - 16) % 6 * 51]
        return _nearest(parts) if number < 232 else None
    if kind == 2 and len(said) >= 3:
        return _nearest([said.pop(0) for _ in range(3)])
    return None


def _nearest(parts: list[int]) -> int | None:
    high, low = max(parts), min(parts)
    if high - low < 48:
        return None  # a grey: the page has its own
    return sum(1 << place for place, part in enumerate(parts) if part > (high + low) / 2)


def _switch(before: Style, after: Style) -> str:
    if before == after:
        return ""
    numbers = [
        *([] if before == PLAIN else ["0"]),
        *(str(code) for code, on in zip((1, 2, 3, 4), after[:4], strict=True) if on),
    ]
    if after.colour is not None:
        numbers.append(str(after.colour + (30 if after.colour < 8 else 82)))
    return f"\x1b[{';'.join(numbers)}m"
