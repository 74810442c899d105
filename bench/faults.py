"""A training loop beside a tracker whose server or agent fails: its step time with and without `tracker.log`."""

from __future__ import annotations

import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from bench._figures import Row, Table, median, p99, play, progress, ratio
from lab.place import LabError, free_port
from tracker.cli.server import listen

ROUNDS = 4
PAIRS = 200
SCALARS = 10
STEP_MS = 5.0
OTHER_STEPS_MS = (1.0, 20.0)  # what a call costs depends on how much of the caches the step before it took
BAR_PERCENT = 1.0  # by which the median of the ratios of the pairs may be over 1

# A step is a product of matrices that takes 5 ms or a little more. Steps with log() and without come in turns, one by
# one, so that what disturbs the one disturbs the other; which of a pair is first is drawn by lot. It prints nanoseconds
# a step.
LOOP = """
import json, os, random, sys, time
os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1")
import numpy, tracker
pairs, step_ns = int(sys.argv[1]), float(sys.argv[3]) * 1e6
clock, log = time.perf_counter_ns, tracker.log
names = ["loss", *(f"train/metric_{number}" for number in range(1, int(sys.argv[2])))]
def product_ns(weights):
    began_ns = clock()
    weights @ weights
    return clock() - began_ns
weights = numpy.random.rand(64, 64)
while sorted(product_ns(weights) for _ in range(9))[4] < step_ns:
    size = int(len(weights) * 1.03) + 1
    weights = numpy.random.rand(size, size)
def step(number, tracked):
    began_ns = clock()
    weights @ weights
    if tracked:
        log({name: 0.125 + number / 7 for name in names}, step=number)
    else:
        {name: 0.125 + number / 7 for name in names}
    return clock() - began_ns
log({"loss": 0.5}, step=0)
step(0, False)
with_ns, without_ns = [], []
for number in range(1, pairs + 1):
    both = [(with_ns, True), (without_ns, False)]
    random.shuffle(both)
    for times_ns, tracked in both:
        times_ns.append(step(number, tracked))
print(json.dumps({"with": with_ns, "without": without_ns}))
"""


class Beside:
    """The real server, the real agent, and a door between them that can be shut in several ways."""

    def __init__(self, place: Path) -> None:
        self.spool = place / "spool"
        self.folder = self.spool / "jobs" / "bench.4711"
        self.folder.mkdir(mode=0o700, parents=True)
        self._env = {"PATH": os.environ["PATH"], "TRACKER_HOME": str(place / "home"), "HOME": str(place)}
        self._env["PYTHONPATH"] = str(Path(__file__).resolve().parent.parent)
        self._port = free_port(18265)
        self._token = ""

    @contextmanager
    def server(self) -> Iterator[None]:
        """`tracker server` on SQLite."""
        words = [sys.executable, "-m", "tracker", "server", "--port", str(self._port)]
        with _process(words, self._env):
            _wait(self._answers, "the server answers")
            if not self._token:
                create = [sys.executable, "-m", "tracker", "token", "create", "--agent"]
                self._token = subprocess.check_output(create, env=self._env, text=True).strip()
            yield

    @contextmanager
    def agent(self, *, killed: bool = False) -> Iterator[None]:
        """`tracker agent`, or one that is killed and started again each second."""
        words = [sys.executable, "-m", "tracker", "agent", "--spool", str(self.spool), "--node", "n1"]
        words += ["--cluster", "bench", "--url", f"http://127.0.0.1:{self._port}"]
        env = {**self._env, "TRACKER_TOKEN": self._token}
        if not killed:
            with _process(words, env):
                yield
            return
        over = threading.Event()

        def again_and_again() -> None:
            while not over.is_set():
                with _process(words, env):
                    over.wait(1.0)

        thread = threading.Thread(target=again_and_again)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    @contextmanager
    def door(self, answer: Callable[[socket.socket], None]) -> Iterator[None]:
        """Something else in the server's place."""
        over = threading.Event()
        listener = listen("127.0.0.1", self._port)
        listener.settimeout(0.1)

        def serve() -> None:
            while not over.is_set():
                with suppress(TimeoutError):
                    connection, _ = listener.accept()
                    threading.Thread(target=_answered, args=(connection, answer, over), daemon=True).start()

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
            listener.close()

    def _answers(self) -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self._port), timeout=1):
            return True
        return False


def _answered(connection: socket.socket, answer: Callable[[socket.socket], None], over: threading.Event) -> None:
    with connection, suppress(OSError):
        connection.recv(65536)
        answer(connection)
        while not over.wait(0.1) and answer is _hangs:
            pass


def _hangs(_connection: socket.socket) -> None:
    """Say nothing, and keep the connection."""


def _says_500(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")


def _says_garbage(connection: socket.socket) -> None:
    connection.sendall(b"\x00\xff" * 2000)


def measure() -> list[Table]:
    """The table: each case in turn, several rounds in an order drawn by lot."""
    # On a disk, which /tmp need not be.
    with tempfile.TemporaryDirectory(prefix="tracker-faults-", dir="/var/tmp") as name:
        beside = Beside(Path(name))
        with beside.server():
            pass  # makes the database and the agent's key
        cases: dict[str, Callable[[ExitStack], Any]] = {
            "no agent, no server": lambda _: None,
            "all is well": lambda all_of: (all_of.enter_context(beside.server()), all_of.enter_context(beside.agent())),
            "server refuses": lambda all_of: all_of.enter_context(beside.agent()),
            "server hangs": lambda all_of: _behind(all_of, beside, _hangs),
            "server answers 500": lambda all_of: _behind(all_of, beside, _says_500),
            "server answers garbage": lambda all_of: _behind(all_of, beside, _says_garbage),
            "agent killed each second": lambda all_of: (
                all_of.enter_context(beside.server()),
                all_of.enter_context(beside.agent(killed=True)),
            ),
        }
        found: dict[str, list[dict[str, list[int]]]] = {case: [] for case in cases}
        for number in range(ROUNDS):
            progress(f"  round {number + 1} of {ROUNDS}: {len(cases)} loops of {PAIRS} pairs of steps")
            for case in random.sample(list(cases), len(cases)):
                with ExitStack() as all_of:
                    cases[case](all_of)
                    found[case].append(_loop(beside, STEP_MS))
        lengths = {step_ms: [_loop(beside, step_ms) for _ in range(ROUNDS)] for step_ms in OTHER_STEPS_MS}
    title = f"A step of the loop, {ROUNDS} processes of {PAIRS} pairs each, {SCALARS} scalars a step"
    rows = [_row(case, answers, BAR_PERCENT) for case, answers in found.items()]
    others = [_row(f"{step_ms:g} ms", answers, None) for step_ms, answers in lengths.items()]
    return [Table(title, rows), Table("No agent, no server; steps of other lengths", others)]


def _behind(all_of: ExitStack, beside: Beside, answer: Callable[[socket.socket], None]) -> None:
    all_of.enter_context(beside.door(answer))
    all_of.enter_context(beside.agent())


def _loop(beside: Beside, step_ms: float) -> dict[str, list[int]]:
    before = len(list(beside.folder.glob("*.jsonl")))
    env = {"PATH": os.environ["PATH"], "HOME": str(beside.spool), "TRACKER_SPOOL": str(beside.folder)}
    env.update(SLURM_CLUSTER_NAME="bench", SLURM_JOB_ID="4711", SLURMD_NODENAME="n1", SLURM_PROCID="0")
    words = [sys.executable, "-c", LOOP, str(PAIRS), str(SCALARS), str(step_ms)]
    found: dict[str, list[int]] = json.loads(subprocess.run(words, env=env, stdout=subprocess.PIPE, check=True).stdout)
    files = sorted(beside.folder.glob("*.jsonl"), key=lambda path: path.stat().st_mtime)
    points = files[-1].read_bytes().count(b'{"metrics":') if len(files) > before else 0
    if points != len(found["with"]) + 1:
        raise LabError(f"{points} points of {len(found['with']) + 1} were written: it is not log() that was measured")
    return found


def _row(case: str, answers: list[dict[str, list[int]]], bar_percent: float | None) -> Row:
    logged, bare = ([step / 1e6 for one in answers for step in one[kind]] for kind in ("with", "without"))
    return {
        "": case,
        "pairs": len(bare),
        "without, median ms": median(bare),
        "with, median ms": median(logged),
        "difference, median µs": median([one - other for one, other in zip(logged, bare, strict=True)]) * 1000,
        "with ÷ without, over 1 %": (ratio(logged, bare) - 1) * 100,
        "all with ÷ all without": sum(logged) / sum(bare),
        "p99 with ÷ p99 without": p99(logged) / p99(bare),
        "bar %": bar_percent,
    }


@contextmanager
def _process(words: list[str], env: dict[str, str]) -> Iterator[None]:
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "stdin": subprocess.DEVNULL}
    process = subprocess.Popen(words, env=env, start_new_session=True, **quiet)  # type: ignore[call-overload]
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, 9)
        process.wait()


def _wait(reached: Callable[[], bool], what: str, within_s: float = 60) -> None:
    deadline_s = time.monotonic() + within_s
    while not reached():
        if time.monotonic() > deadline_s:
            raise LabError(f"waited {within_s:g} s in vain until {what}")
        time.sleep(0.05)


if __name__ == "__main__":
    sys.exit(play("faults", __doc__ or "", measure))
