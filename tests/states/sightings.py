"""What the tracker showed of each run, moment by moment, read where its pages read it."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

Name = tuple[int, int | None]
"""A job's id, or an array's id and a task."""
EVERY_S = 0.2
QUERY = """
SELECT id, coalesce(array_job_id, job_id), array_task_id, state, state_source, restarts
FROM runs WHERE cluster IS NOT NULL AND deleted_at IS NULL ORDER BY created_at
"""


@dataclass(frozen=True)
class Shown:
    """A run's state, and from when on it was shown."""

    state: str
    source: str
    restarts: int
    at_s: float

    def differs(self, other: Shown) -> bool:
        """Whether it says something else."""
        return (self.state, self.source, self.restarts) != (other.state, other.source, other.restarts)


class Sightings:
    """Looks five times a second and remembers what changed. Of two runs with one name it tells of the newer one."""

    def __init__(self, database: Path) -> None:
        self._database = database
        self._histories: dict[str, list[Shown]] = {}
        self._runs: dict[Name, str] = {}
        self._news = threading.Condition()
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._look_on, daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more; who waits for something waits no longer."""
        self._is_over.set()
        self._thread.join()
        with self._news:
            self._news.notify_all()

    def of(self, name: Name) -> list[Shown]:
        """All that was shown of a run, in order; nothing if there is none."""
        with self._news:
            return list(self._histories.get(self._runs.get(name, ""), ()))

    def until(self, name: Name, fits: Callable[[Shown], bool], within_s: float = 240) -> Shown:
        """What a run shows as soon as it fits. Fails the test when it does not within the time."""
        with self._news:
            self._news.wait_for(lambda: self._is_over.is_set() or self._fits(name, fits), within_s)
            if self._fits(name, fits):
                return self.of(name)[-1]
        pytest.fail(f"not within {within_s} s, run {name}: {self.of(name)}")

    def _fits(self, name: Name, fits: Callable[[Shown], bool]) -> bool:
        told = self.of(name)
        return bool(told) and fits(told[-1])

    def _look_on(self) -> None:
        with closing(sqlite3.connect(f"file:{self._database}?mode=ro", uri=True, timeout=60)) as database:
            while not self._is_over.wait(EVERY_S):
                self._note(database.execute(QUERY).fetchall(), time.time())

    def _note(self, rows: list[tuple[str, int, int | None, str, str, int]], at_s: float) -> None:
        with self._news:
            for run_id, job, task, state, source, restarts in rows:
                shown = Shown(state, source, restarts, at_s)
                history = self._histories.setdefault(run_id, [])
                if not history or history[-1].differs(shown):
                    history.append(shown)
                self._runs[job, task] = run_id
            self._news.notify_all()
