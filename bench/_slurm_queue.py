"""A long queue refreshed: the watcher's own processor time, on PostgreSQL and SQLite."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

from bench._asked import Asked
from bench._figures import Row, Table, median, progress
from bench._recorded_slurm import RecordedSlurm
from bench._servers import each_kind, place
from tracker.actions.watch import Watcher
from tracker.settings import Settings
from tracker.slurm.commands import Commands
from tracker.store.database import Database

JOBS = 10_000
CHANGING = 100
ROUNDS = 5
BAR_S = 1.0


def measure(asked: Asked) -> list[Table]:
    """Refresh a queue in which nothing but priorities, and one in which some jobs changed."""
    jobs = JOBS // 10 if asked.quick else JOBS
    with place() as folder, each_kind(folder, ["postgresql", "sqlite"]) as databases:
        rows = [row for kind, url in databases.items() for row in _refreshes(kind, url, jobs)]
    return [Table(f"A queue of {jobs:,} jobs: the watcher's own processor time", rows)]


def _refreshes(kind: str, url: str, jobs: int) -> Iterator[Row]:
    if url.startswith("sqlite"):
        Path(url.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
    made = Database(url)
    made.upgrade()
    made.close()
    progress(f"  {kind}: {jobs:,} jobs for the first time")
    slurm = RecordedSlurm(jobs)
    watcher = Watcher(Settings(database=url, watch_users="all"), Commands(timeout_s=60, ask=slurm))
    watcher.look()  # the first one makes the runs
    for changing in (0, CHANGING):
        slurm.changing = changing
        parsing, looking, wall = [], [], []
        for _ in range(ROUNDS):
            slurm.go_on()
            parsing.append(_cpu_s(Commands(timeout_s=60, ask=slurm).queue))
            begun_s = time.perf_counter()
            looking.append(_cpu_s(watcher.look))
            wall.append(time.perf_counter() - begun_s)
        yield {
            "": f"{kind}, {changing} of {jobs:,} changed", "n": ROUNDS, "all CPU s": median(looking),
            "bar s": BAR_S, "worst CPU s": max(looking), "of it parsing CPU s": median(parsing),
            "wall s": median(wall),
        }  # fmt: skip
    watcher.leave()


def _cpu_s(work: Callable[[], object]) -> float:
    begun_s = time.process_time()
    work()
    return time.process_time() - begun_s
