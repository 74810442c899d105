"""How the charts of a run are looked at: over what, of which ranks and attempts. It stands in the page's address."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from flask import request

from tracker.store.writers import Logged, takes_back
from web.pages.live import here

_POINTS_OF_ONE, _POINTS_OF_MANY = 1000, 6400


@dataclass(frozen=True)
class Choice:
    """One way of looking: the parameter it sets, its word, its address, and whether it is the one chosen now."""

    parameter: str
    word: str
    href: str
    chosen: bool


@dataclass(frozen=True)
class View:
    """What was chosen. `rank` None is the lowest one; else a number, `all` or `mean`."""

    x: str
    rank: str | None
    attempts: str

    @classmethod
    def asked(cls) -> View:
        """What the address asks for; what it asks for in vain is as if not asked."""
        x, rank, attempts = (request.args.get(name, "") for name in ("x", "rank", "attempts"))
        is_number = rank.isascii() and rank.isdigit() and len(rank) < 10
        return cls(
            x="time" if x == "time" else "step",
            rank=rank if is_number or rank in ("all", "mean") else None,
            attempts="all" if attempts == "all" else "last",
        )

    def series(self, is_machine: bool) -> dict[str, Any]:
        """What to ask the API for, beside the metric. Machines have no ranks, and time is their axis.

        A line that is alone is drawn as its mean within its range where it has more points than can be drawn.
        """
        if is_machine:
            return {"x": "time", "max_points": _POINTS_OF_MANY}
        is_of_many = self.rank == "all" or self.attempts == "all"
        asked = {"x": self.x, "max_points": _POINTS_OF_MANY if is_of_many else _POINTS_OF_ONE}
        asked |= {"rank": self.rank} if self.rank else {}
        asked |= {"thin": "mean"} if not is_of_many and self.rank != "mean" else {}
        return asked | ({"attempts": "all"} if self.attempts == "all" else {})

    def axes(self) -> list[Choice]:
        """Over what to draw."""
        return _choices("x", [("step", None), ("time", "time")], "time" if self.x == "time" else None)

    def ranks(self, logged: Sequence[Logged]) -> list[Choice]:
        """Whose points to draw; nothing to choose where there is one rank."""
        if not self.rank and max((one.ranks for one in logged), default=0) < 2:
            return []
        lowest = str(min((one.lowest_rank for one in logged), default=0))
        chosen = None if self.rank == lowest else self.rank
        one = (f"rank {lowest}", None) if chosen in (None, "all", "mean") else (f"rank {chosen}", chosen)
        return _choices("rank", [one, ("all ranks", "all"), ("mean and range", "mean")], chosen)

    def attempts_of(self, logged: Sequence[Logged]) -> list[Choice]:
        """Whether to draw what a later attempt took back; nothing to choose where none did."""
        chosen = "all" if self.attempts == "all" else None
        words = [("newest attempt", None), ("all attempts", "all")]
        return _choices("attempts", words, chosen) if chosen or takes_back(logged) else []


def _choices(parameter: str, words: Sequence[tuple[str, str | None]], chosen: str | None) -> list[Choice]:
    return [Choice(parameter, word, here(**{parameter: value}), value == chosen) for word, value in words]
