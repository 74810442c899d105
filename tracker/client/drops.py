"""Lines that were not kept: counted, said on stderr at once, and told on the run's page more and more seldom."""

from __future__ import annotations

from tracker.client.said import say_once

_FIRST_PAUSE_S = 1.0
_TELL_AT_MOST_EVERY_S = 60.0


class Drops:
    """The lines that one process had to drop."""

    def __init__(self) -> None:
        self._lines: dict[str, int] = {}  # by why
        self._untold = 0
        self._tell_at_s = self._pause_s = 0.0

    def add(self, why: str, said: str) -> None:
        """Count a line. `why` is how its count goes on, `said` what the user reads."""
        self._lines[why] = self._lines.get(why, 0) + 1
        self._untold += 1
        say_once(f"drop {why}", f"{said}: points are being dropped until that changes; the run's page counts them")

    def are_due(self, now_s: float) -> bool:
        """Say whether it is time to tell of those that came since they were told of last."""
        if not self._untold or now_s < self._tell_at_s:
            return False
        self._pause_s = min(_TELL_AT_MOST_EVERY_S, 2 * self._pause_s + _FIRST_PAUSE_S)
        self._tell_at_s = now_s + self._pause_s
        return True

    def untold(self) -> str | None:
        """Return the counts of all, by why; None when there is nothing new to tell."""
        return "; ".join(f"{lines} lines {why}" for why, lines in self._lines.items()) if self._untold else None

    def told(self) -> None:
        """Say that the page knows."""
        self._untold = 0
