"""The difference of two texts in the unified form that `git apply` takes."""

from __future__ import annotations

from bisect import bisect_left

from tracker.client.pace import Pace
from tracker.client.typed import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from typing import Iterator, Sequence

    Lines = Sequence[bytes]

CONTEXT_LINES = 3
MOST_EDITS = 200  # between two lines that stand in both texts once; what differs more is replaced as a whole
_NO_NEWLINE = b"\\ No newline at end of file\n"


class Change(NamedTuple):
    """Lines `old[a:b]` are replaced by `new[c:d]`."""

    a: int
    b: int
    c: int
    d: int


def unified(old: bytes, new: bytes, pace: Pace) -> Iterator[bytes]:
    """Yield the lines of all hunks, each with its newline; none where the two are the same."""
    old_lines, new_lines = lines_of(old), lines_of(new)
    for hunk in _hunks(changes(old_lines, new_lines, pace)):
        yield from _written(hunk, old_lines, new_lines)
        pace.step()


def lines_of(text: bytes) -> list[bytes]:
    """Return the lines with their newlines; only the last may lack one."""
    lines = text.split(b"\n")
    last = lines.pop()
    return [line + b"\n" for line in lines] + ([last] if last else [])


def changes(old: Lines, new: Lines, pace: Pace) -> list[Change]:
    """Return what makes the new lines of the old ones, in order."""
    found: list[Change] = []
    a = c = 0
    for b, d in [*_anchors(old, new, pace), (len(old), len(new))]:
        for one in _between(old, new, Change(a, b, c, d), pace):
            if found and (found[-1].b, found[-1].d) == (one.a, one.c):
                one = Change(found[-1].a, one.b, found.pop().c, one.d)
            found.append(one)
        a, c = b, d
    return found


def _anchors(old: Lines, new: Lines, pace: Pace) -> list[tuple[int, int]]:
    """Return places of lines that stand in each text once, the longest list in which both go forward."""
    places = []
    once = _once(new, pace)
    for at, line in _once(old, pace).items():
        if line >= 0 and once.get(at, -1) >= 0:
            places.append((line, once[at]))
    places.sort()
    ends: list[int] = []  # of the best lists of each length: where they are in the new text
    best: list[tuple[int, int]] = []  # of each place: its number in its list, the place before it
    at_ends: list[int] = []
    for number, (_, there) in enumerate(places):
        pace.step()
        length = bisect_left(ends, there)
        ends[length : length + 1], at_ends[length : length + 1] = [there], [number]
        best.append((length, at_ends[length - 1] if length else -1))
    chosen, number = [], at_ends[-1] if at_ends else -1
    while number >= 0:
        chosen.append(places[number])
        number = best[number][1]
    return chosen[::-1]


def _once(lines: Lines, pace: Pace) -> dict[bytes, int]:
    """Return where each line stands; -1 for those that stand there more than once."""
    places: dict[bytes, int] = {}
    for at, line in enumerate(lines):
        places[line] = -1 if line in places else at
        if not at & 63:
            pace.step()
    return places


def _between(old: Lines, new: Lines, part: Change, pace: Pace) -> list[Change]:
    """Compare a part of the texts; its equal beginning and end cost little."""
    a, b, c, d = part
    while a < b and c < d and old[a] == new[c]:
        a, c = a + 1, c + 1
        pace.step()
    while a < b and c < d and old[b - 1] == new[d - 1]:
        b, d = b - 1, d - 1
        pace.step()
    if a == b and c == d:
        return []
    if a == b or c == d:
        return [Change(a, b, c, d)]
    edits = _fewest_edits(old[a:b], new[c:d], pace)
    if edits is None:
        return [Change(a, b, c, d)]
    return [Change(a + e, a + f, c + g, c + h) for e, f, g, h in edits]


def _fewest_edits(old: Lines, new: Lines, pace: Pace) -> list[tuple[int, int, int, int]] | None:
    """Compare by the greedy way of Myers (An O(ND) Difference Algorithm, 1986); None after MOST_EDITS."""
    furthest = {1: 0}  # of each diagonal (old minus new): how far into the old text a path has come
    before: list[dict[int, int]] = []
    for edits in range(min(MOST_EDITS, len(old) + len(new)) + 1):
        before.append({one: furthest[one] for one in range(1 - edits, edits, 2)} if edits else {})
        for diagonal in range(-edits, edits + 1, 2):
            at = _entered(furthest, diagonal, edits)
            while at < len(old) and at - diagonal < len(new) and old[at] == new[at - diagonal]:
                at += 1
            furthest[diagonal] = at
            if at >= len(old) and at - diagonal >= len(new):
                return _walked_back(before, len(old), len(new))
            pace.step()
    return None


def _entered(furthest: dict[int, int], diagonal: int, edits: int) -> int:
    """Return where the better of two paths enters a diagonal: one adds a line, the other removes one."""
    if diagonal == -edits or (diagonal != edits and furthest[diagonal - 1] < furthest[diagonal + 1]):
        return furthest[diagonal + 1]
    return furthest[diagonal - 1] + 1


def _walked_back(before: list[dict[int, int]], a: int, c: int) -> list[tuple[int, int, int, int]]:
    found: list[tuple[int, int, int, int]] = []
    for edits in range(len(before) - 1, 0, -1):
        furthest, diagonal = before[edits], a - c
        adds = diagonal == -edits or (diagonal != edits and furthest[diagonal - 1] < furthest[diagonal + 1])
        from_diagonal = diagonal + 1 if adds else diagonal - 1
        at = furthest[from_diagonal]
        a, c = at, at - from_diagonal
        found.append((a, a, c, c + 1) if adds else (a, a + 1, c, c))
    return found[::-1]


def _hunks(found: list[Change]) -> Iterator[list[Change]]:
    """Put changes together that are nearer than twice the context."""
    hunk: list[Change] = []
    for one in found:
        if hunk and one.a - hunk[-1].b > 2 * CONTEXT_LINES:
            yield hunk
            hunk = []
        hunk.append(one)
    if hunk:
        yield hunk


def _written(hunk: list[Change], old: Lines, new: Lines) -> Iterator[bytes]:
    first, last = hunk[0], hunk[-1]
    before = min(CONTEXT_LINES, first.a)
    after = min(CONTEXT_LINES, len(old) - last.b)
    a, c = first.a - before, first.c - before
    yield b"@@ -%s +%s @@\n" % (_range(a, last.b + after), _range(c, last.d + after))
    for one in hunk:
        for line in old[a : one.a]:
            yield _line(b" ", line)
        for line in old[one.a : one.b]:
            yield _line(b"-", line)
        for line in new[one.c : one.d]:
            yield _line(b"+", line)
        a = one.b
    for line in old[a : a + after]:
        yield _line(b" ", line)


def _line(sign: bytes, line: bytes) -> bytes:
    return sign + line if line.endswith(b"\n") else sign + line + b"\n" + _NO_NEWLINE


def _range(start: int, end: int) -> bytes:
    # A range of no lines is told by the line before it.
    count = end - start
    return b"%d,%d" % (start + 1 if count else start, count) if count != 1 else b"%d" % (start + 1)
