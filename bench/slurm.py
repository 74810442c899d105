"""What following Slurm costs us and Slurm: a long queue refreshed, and questions an hour while people look."""

from __future__ import annotations

import http.client
import multiprocessing
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from bench._figures import Row, Table, median, play, progress
from bench._servers import each_kind, place, tracker_server
from bench._slurm_queue import RecordedSlurm
from tracker.actions.watch import Watcher
from tracker.settings import Settings
from tracker.slurm.commands import Commands
from tracker.store import clusters
from tracker.store.database import Database

JOBS = 10_000
CHANGING = 100
ROUNDS = 5
BROWSERS = (0, 10, 100)
LOOKED_FOR_S = 30.0
WATCHED = "rec"


def measure() -> list[Table]:
    """Both parts, on PostgreSQL and SQLite."""
    with place() as folder, each_kind(folder, ["postgresql", "sqlite"]) as databases:
        for url in databases.values():
            if url.startswith("sqlite"):
                Path(url.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
            made = Database(url)
            made.upgrade()
            made.close()
        refreshes = [row for kind, url in databases.items() for row in _refreshes(kind, url)]
        questions = [row for kind, url in databases.items() for row in _questions(kind, url, folder)]
    title = f"A queue of {JOBS:,} jobs: the watcher's own processor time, parsing and storing"
    return [Table(title, refreshes), Table("Questions to Slurm while people look", questions)]


def _refreshes(kind: str, url: str) -> Iterator[Row]:
    """Parsing alone, and looks in which nothing but priorities, and in which some jobs changed."""
    progress(f"  {kind}: {JOBS:,} jobs for the first time")
    for changing in (0, CHANGING):
        slurm = RecordedSlurm(JOBS, changing)
        watcher = _watcher(url, slurm)
        watcher.look()  # the first one makes the runs, or finds them
        parsing, looking, wall = [], [], []
        for _ in range(ROUNDS):
            slurm.go_on()
            parsing.append(_cpu_s(Commands(timeout_s=60, ask=slurm).queue))
            begun_s = time.perf_counter()
            looking.append(_cpu_s(watcher.look))
            wall.append(time.perf_counter() - begun_s)
        watcher.leave()
        yield {
            "": f"{kind}, {changing} of {JOBS:,} changed", "n": ROUNDS, "parsing CPU s": median(parsing),
            "all CPU s": median(looking), "worst CPU s": max(looking), "wall s": median(wall),
        }  # fmt: skip


def _cpu_s(work: Callable[[], object]) -> float:
    begun_s = time.process_time()
    work()
    return time.process_time() - begun_s


def _watcher(url: str, slurm: RecordedSlurm) -> Watcher:
    return Watcher(Settings(database=url, watch_users="all"), Commands(timeout_s=60, ask=slurm))


def _questions(kind: str, url: str, folder: Path) -> Iterator[Row]:
    with tracker_server(folder / f"looked-{kind}", url) as server:
        for browsers in BROWSERS:
            progress(f"  {kind}: {browsers} browsers for {LOOKED_FOR_S:g} s")
            _forget_questions(url)
            watching = multiprocessing.get_context("spawn").Process(target=_watch, args=(url,), daemon=True)
            watching.start()
            before = _await_first_look(url)
            stop, pages = threading.Event(), [0] * browsers
            people = [
                threading.Thread(target=_look, args=(server.port, server.admin, stop, pages, number))
                for number in range(browsers)
            ]
            begun_s = time.monotonic()
            for one in people:
                one.start()
            time.sleep(LOOKED_FOR_S)
            asked, took_s = _asked(url) - before, time.monotonic() - begun_s
            stop.set()
            for one in people:
                one.join()
            watching.terminate()
            watching.join()
            yield {
                "": f"{kind}, {browsers} browsers", "pages": sum(pages), "questions": asked,
                "questions an hour": asked / took_s * 3600,
            }  # fmt: skip


def _watch(url: str) -> None:
    """A watcher of a queue in which a job changes at each look."""
    _watcher(url, RecordedSlurm(1000, changing=1, by_itself=True)).run()


def _await_first_look(url: str) -> int:
    """Questions until the watcher has the cluster and has looked."""
    while True:
        found = _cluster_questions(url)
        if found[0] and found[1]:
            return found[1]
        time.sleep(0.2)


def _forget_questions(url: str) -> None:
    """Those of the watcher before."""
    database = Database(url)
    with database.write() as session:
        clusters.get(session, WATCHED).questions = {}
    database.close()


def _asked(url: str) -> int:
    return _cluster_questions(url)[1]


def _cluster_questions(url: str) -> tuple[str | None, int]:
    database = Database(url)
    try:
        with database.read() as session:
            cluster = clusters.find(session, WATCHED)
            counts = cluster.questions if cluster else {}
            return cluster.watcher if cluster else None, sum(int(one["asked"]) for one in counts.values())
    finally:
        database.close()


def _look(port: int, key: str, stop: threading.Event, pages: list[int], number: int) -> None:
    """A browser: a page a second of the queue."""
    while not stop.wait(1.0):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        try:
            connection.request("GET", "/api/v1/jobs?limit=50", headers={"Authorization": f"Bearer {key}"})
            connection.getresponse().read()
            pages[number] += 1
        except OSError:
            pass  # it looks again
        finally:
            connection.close()


if __name__ == "__main__":
    sys.exit(play("slurm", __doc__ or "", measure))
