"""The timeline of a run as a picture: a bar for each attempt, with the wait before it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from tracker.quantities import duration
from tracker.slurm.reasons import in_words
from tracker.store.timeline import Fact, Span, Timeline

WIDTH = 1000.0
LEAST = 3.0  # of the width, so that what was short is seen
MOST_ROWS = 12
MOST_FACTS = 200
_STEPS = 60  # what goes on is drawn anew so often in its whole length, and not each second
_WHAT = {
    "submitted": "submitted", "eligible": "might start", "pending": "waits", "allocated": "has its nodes",
    "prolog": "Prolog", "suspended": "suspended", "resumed": "goes on", "epilog": "Epilog", "ended": "attempt over",
    "requeued": "waits again", "final": "over",
}  # fmt: skip


@dataclass(frozen=True)
class Bar:
    """A part of a row: what was done, and where it lies in WIDTH."""

    doing: str
    left: float
    width: float
    title: str


@dataclass(frozen=True)
class Row:
    """An attempt, or the wait for one that has not begun: `words` say all that the bars show."""

    attempt: int | None
    bars: list[Bar]
    words: str


@dataclass(frozen=True)
class Picture:
    """The rows from one moment to another, the first one first; `left_out` were before them."""

    since: datetime
    until: datetime
    rows: list[Row]
    left_out: int
    goes_on: bool
    facts: list[tuple[Fact, str]]


def picture(timeline: Timeline, now: datetime) -> Picture | None:
    """What to draw; None while nothing has happened."""
    spans = timeline.spans
    if not spans:
        return None
    goes_on = any(one.ended_at is None for one in spans)
    since = spans[0].started_at
    until = max(one.ended_at or _rounded(since, now) for one in spans)
    attempts: dict[int | None, list[Span]] = {}
    for one in spans:
        attempts.setdefault(one.attempt, []).append(one)
    kept = list(attempts.items())[-MOST_ROWS:]
    since = kept[0][1][0].started_at
    rows = [Row(attempt, _bars(mine, since, until), _words(mine, until)) for attempt, mine in kept]
    facts = [(one, _said(one)) for one in reversed(timeline.facts[-MOST_FACTS:])]
    return Picture(since, until, rows, len(attempts) - len(kept), goes_on, facts)


def _rounded(since: datetime, now: datetime) -> datetime:
    step_s = max(int((now - since).total_seconds() / _STEPS), 5)
    return datetime.fromtimestamp((now.timestamp() // step_s + 1) * step_s, tz=now.tzinfo)


def _bars(spans: Sequence[Span], since: datetime, until: datetime) -> list[Bar]:
    length = max(until - since, timedelta(seconds=1))
    bars = []
    for one in spans:
        end = one.ended_at or until
        left, width = (one.started_at - since) / length * WIDTH, (end - one.started_at) / length * WIDTH
        took = "" if one.ended_at is None else f" {duration(end - one.started_at)}"
        title = _doing(one) + took
        width = max(width, LEAST)
        bars.append(Bar(one.doing, round(min(left, WIDTH - width), 1), round(width, 1), title))
    return bars


def _words(spans: Sequence[Span], until: datetime) -> str:
    """What the bars show, for who does not see them; what is done several times is told once."""
    took: dict[str, timedelta] = {}
    still: set[str] = set()
    for one in spans:
        took[_doing(one)] = took.get(_doing(one), timedelta(0)) + ((one.ended_at or until) - one.started_at)
        still |= {_doing(one)} if one.ended_at is None else set()
    return ", ".join(doing if doing in still else f"{doing} {duration(length)}" for doing, length in took.items())


def _doing(span: Span) -> str:
    return f"{span.doing} ({span.reason})" if span.reason else span.doing


def _said(fact: Fact) -> str:
    """A fact in words; Slurm's reasons in plain ones."""
    detail = fact.detail or ""
    if fact.what == "pending":
        detail = f"{detail}: {in_words(detail).words}" if in_words(detail).words else detail
        detail += f" (the last of {fact.changes + 1} reasons that took turns)" if fact.changes else ""
    return f"{_WHAT[fact.what]}{': ' if detail else ''}{detail}"
