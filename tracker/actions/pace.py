"""How often a watcher asks: quickly while something happens, seldom when nothing does, and less when Slurm is slow."""

from __future__ import annotations

SHARE_OF_TIME = 0.1
"""The part of the time that questions to Slurm may take; a limit on requests makes Slurm's client wait, too."""
CALM_AFTER_S = 30.0
"""After so long without news the interval is the idle one; until then it grows towards it."""
MAX_PAUSE_S = 30.0


class Pace:
    """Gives the seconds from the beginning of a look to that of the next one."""

    def __init__(self, quick_s: float, idle_s: float) -> None:
        self._quick_s, self._idle_s = quick_s, max(quick_s, idle_s)
        self._news_at_s: float | None = None
        self._failure_s = 0.0

    def after(self, *, ended_s: float, waited_s: float, news: bool) -> float:
        """The pause after answers that took `waited_s`. Who looks at pages is no news; changes of jobs are."""
        self._failure_s = 0.0
        if news or self._news_at_s is None:
            self._news_at_s = ended_s
        calm = min((ended_s - self._news_at_s) / CALM_AFTER_S, 1.0)
        wished_s = self._quick_s + (self._idle_s - self._quick_s) * calm
        return max(wished_s, self.rest_s(waited_s))

    def rest_s(self, waited_s: float) -> float:
        """How long nothing is asked, from the beginning of questions that took so long."""
        return min(waited_s / SHARE_OF_TIME, 10 * MAX_PAUSE_S)

    def after_failure(self, *, began_s: float, ended_s: float) -> float:
        """The pause after no answer: each time twice as long, up to half a minute and what the answer took."""
        self._failure_s = min(max(self._failure_s * 2, self._quick_s), MAX_PAUSE_S)
        return self._failure_s + (ended_s - began_s)
