"""Agents that only deliver: requests made beforehand, sent over kept connections, each process on its own."""

from __future__ import annotations

import http.client
import json
import multiprocessing
import random
import threading
import time
import uuid
from collections.abc import Callable, Sequence

from bench._servers import Server
from tracker.events import INGEST_TYPE, encode_request

TIMEOUT_S = 120


class Agent:
    """One agent with a kept connection. `send` gives what the server says of each part; LookupError if it refuses."""

    def __init__(self, server: Server, node: str = "n1", cluster: str | None = None) -> None:
        self.about = {"node": node, "cluster": cluster, "shared": cluster is None}
        self.headers = {"Authorization": f"Bearer {server.agent}", "Content-Type": INGEST_TYPE}
        self.connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=TIMEOUT_S)

    def send(self, parts: Sequence[tuple[dict[str, object], bytes]], **more: object) -> list[dict[str, int]]:
        """Deliver parts."""
        listed = [{**part, "length": len(blob)} for part, blob in parts]
        manifest = {"version": 1, "agent": {**self.about, "time": time.time()}, "folders": [], **more, "parts": listed}
        self.connection.request(
            "POST", "/api/v1/ingest", encode_request(manifest, [blob for _, blob in parts]), self.headers
        )
        answer = self.connection.getresponse()
        said = json.loads(answer.read())
        if answer.status != 200 or any("error" in one for one in said["parts"]):
            raise LookupError(f"{answer.status}: {said}")
        parts_of: list[dict[str, int]] = said["parts"]
        return parts_of


def lines_of(count: int, metrics: int, first: int = 0, seed: int = 1) -> bytes:
    """Lines of points as the client writes them: a loss curve for each metric."""
    chance, now = random.Random(seed), time.time()
    written = []
    for step in range(first, first + count):
        values = {f"train/metric_{one}": 2.3 / (1 + step / 500) + chance.gauss(0, 0.03) for one in range(metrics)}
        written.append(json.dumps({"metrics": values, "step": step, "time": now + step / 100}, separators=(",", ":")))
    return "\n".join([*written, ""]).encode()


def local_folder() -> str:
    """The folder of a new run outside Slurm."""
    return f"local.{uuid.uuid4().hex}"


def in_processes(work: Callable[[int, Callable[[], object]], float], count: int) -> float:
    """Seconds from the moment at which all processes are ready, and each calls what it is given, to the last one's end.

    `work` gets the number of its process. Raises LookupError when one fails.
    """
    context = multiprocessing.get_context("fork")
    barrier, ends = context.Barrier(count + 1), context.Queue()

    def run(number: int) -> None:
        try:
            ends.put(work(number, barrier.wait))
        except Exception as problem:  # the outermost place of a process: the benchmark tells it
            barrier.abort()
            ends.put(repr(problem))

    processes = [context.Process(target=run, args=(number,)) for number in range(count)]
    for process in processes:
        process.start()
    try:
        barrier.wait(TIMEOUT_S)
    except threading.BrokenBarrierError:
        raise LookupError(ends.get()) from None
    started_s = time.monotonic()
    told = [ends.get() for _ in processes]
    for process in processes:
        process.join()
    failed = [one for one in told if isinstance(one, str)]
    if failed:
        raise LookupError(failed[0])
    return float(max(told) - started_s)
