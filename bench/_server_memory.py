"""Whether the server's memory stays flat while agents deliver and people look, for as long as `--minutes` says."""

from __future__ import annotations

import http.client
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench._agents import Agent, lines_of, local_folder
from bench._figures import Row, Table, progress
from bench._servers import Server, each_kind, place, tracker_server

if TYPE_CHECKING:
    from bench.server import Asked

WINDOWS = 10
DELIVERERS, LINES_A_REQUEST, METRICS, REQUESTS_A_RUN, DELIVER_EVERY_S = 2, 500, 10, 50, 0.25
READERS, READ_EVERY_S = 2, 0.3  # below the limit of requests that the server sets
LOOKS = (
    "/api/v1/runs?limit=50",
    "/api/v1/runs?filter=metrics.%22train/metric_1%22%20%3C%201&order_by=metrics.%22train/metric_2%22",
    "/api/v1/runs/{run}/series?metric=train/metric_3&max_points=1000",
    "/runs/{run}",
    "/?fragment=1",
    "/metrics",
)
MIB = 1024 * 1024


def measure(asked: Asked) -> list[Table]:
    """A table of each kind of database: memory over time."""
    minutes = 0.5 if asked.quick else asked.minutes
    with place() as folder, each_kind(folder, asked.kinds) as databases:
        return [_over_time(folder / kind, kind, database, minutes) for kind, database in databases.items()]


def _over_time(folder: Path, kind: str, database: str, minutes: float) -> Table:
    with tracker_server(folder, database) as server:
        load = _Load(server)
        load.start()
        rows = list[Row]()
        begun_s = time.monotonic()
        for window in range(WINDOWS + 1):
            time.sleep(max(0.0, begun_s + window * minutes * 60 / WINDOWS - time.monotonic()))
            rows.append({"": f"{window * minutes / WINDOWS:.1f} min", **_memory(server.pid), **load.done()})
            progress(f"  {kind}, {rows[-1]['']}: {rows[-1]['MiB in all']:.0f} MiB")
        load.end()
    return Table(f"Memory of the server under load, {kind}: {_told(rows, minutes)}", rows)


def _told(rows: list[Row], minutes: float) -> str:
    """How much it grows an hour, by a line through the second half: what is loaded once is loaded by then."""
    later = [float(row["MiB in all"] or 0) for row in rows[WINDOWS // 2 :]]
    hours = np.arange(len(later)) * minutes / WINDOWS / 60
    return f"{np.polyfit(hours, later, 1)[0]:+.0f} MiB an hour in the second half"


def _memory(pid: int) -> Row:
    """What all processes of the server hold, shared pages once; and how much the largest one has resident."""
    family = _family(pid)
    return {
        "processes": len(family),
        "MiB in all": sum(_field(one, "smaps_rollup", "Pss:") for one in family) / MIB,
        "largest MiB resident": max(_field(one, "status", "VmRSS:") for one in family) / MIB,
    }


def _family(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(one for child in children for one in _family(int(child)))]


def _field(pid: int, file: str, name: str) -> int:
    lines = Path(f"/proc/{pid}/{file}").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


class _Load:
    """Agents that deliver new runs, and people who look at them, at a steady pace."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._counts = {"requests": 0, "refused": 0, "points": 0}
        self._problems = list[Exception]()
        self._run = ""  # the newest one that is whole
        work = [self._deliver] * DELIVERERS + [self._look] * READERS
        self._threads = [threading.Thread(target=self._kept, args=(one,)) for one in work]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        """Stop. Raises what a request raised."""
        self._stop.set()
        for thread in self._threads:
            thread.join()
        if self._problems:
            raise self._problems[0]

    def done(self) -> Row:
        """How much was done so far."""
        if self._problems:
            self.end()
        with self._lock:
            return dict(self._counts)

    def _count(self, **more: int) -> None:
        with self._lock:
            for name, count in more.items():
                self._counts[name] += count

    def _kept(self, work: object) -> None:
        try:
            work()  # type: ignore[operator]
        except Exception as problem:  # told to the one who measures
            self._problems.append(problem)

    def _deliver(self) -> None:
        agent = Agent(self._server)
        blobs = [lines_of(LINES_A_REQUEST, METRICS, one * LINES_A_REQUEST, seed=one) for one in range(REQUESTS_A_RUN)]
        while not self._stop.is_set():
            folder, offset = local_folder(), 0
            for blob in blobs:
                part: dict[str, object] = {"type": "lines", "folder": folder, "writer": "w1", "offset": offset}
                (held,) = agent.send([(part, blob)])
                offset = held["offset"]
                self._count(requests=1, points=LINES_A_REQUEST * METRICS)
                self._run = self._run or folder
                if self._stop.wait(DELIVER_EVERY_S):
                    return
            self._run = folder

    def _look(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._server.port, timeout=120)
        headers = {"Authorization": f"Bearer {self._server.admin}"}
        while not self._stop.is_set():
            for path in LOOKS if self._run else ("/metrics",):
                connection.request("GET", path.format(run=self._run.removeprefix("local.")), headers=headers)
                answer = connection.getresponse()
                answer.read()
                self._count(requests=1, refused=answer.status >= 400)
                if self._stop.wait(READ_EVERY_S):
                    return
