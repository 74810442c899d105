"""What tracker costs a job: log() beside a bare write(2), the import beside a bare Python, files and threads."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench import _processes
from bench._figures import Row, Table, measured, median, p99, play, progress, ratio
from lab.place import LabError

ROUNDS = 7
BLOCKS = 20
CALLS_A_BLOCK = 500
STARTS = 40
BAR_MS = 1.0

NO_ORJSON = "import sys; sys.modules['orjson'] = None\n"

# Blocks of both in turns, so that what disturbs one disturbs the other. It prints nanoseconds a call.
LOG = """
import json, os, sys, time
import tracker
scalars, blocks, calls, path = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
names = ["loss", *(f"train/metric_{number}" for number in range(1, scalars))]
clock, log, write = time.perf_counter_ns, tracker.log, os.write
fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
eighty = b"x" * 79 + b"\\n"
logs_ns, writes_ns = [], []
log({"loss": 0.5}, step=0)  # the first call opens the file
for block in range(blocks):
    steps = range(1 + block * calls, 1 + (block + 1) * calls)
    for step in steps:
        metrics = {name: 0.125 + step / 7 for name in names}
        began_ns = clock()
        log(metrics, step=step)
        logs_ns.append(clock() - began_ns)
    for step in steps:
        began_ns = clock()
        write(fd, eighty)
        writes_ns.append(clock() - began_ns)
print(json.dumps({"log": logs_ns, "write": writes_ns, "orjson": tracker.client.encode.orjson is not None}))
"""

# How one process changes the machine. It prints milliseconds of init() and what is there after it.
FOOTPRINT = """
import json, os, time
def threads():
    return len(os.listdir("/proc/self/task"))
def open_files():
    return len(os.listdir("/proc/self/fd"))
threads_before, files_before, began_s = threads(), open_files(), time.perf_counter()
import tracker
imported_s = time.perf_counter()
tracker.init(experiment="bench", params={"lr": 0.1})
ready_s = time.perf_counter()
tracker.log({"loss": 0.5}, step=0)
logged_s = time.perf_counter()
print(json.dumps({
    "import": (imported_s - began_s) * 1000, "init": (ready_s - imported_s) * 1000, "log": (logged_s - ready_s) * 1000,
    "threads": threads() - threads_before, "descriptors": open_files() - files_before,
}))
"""

STARTS_OF = {
    "bare Python": "",
    "`import tracker`": "import tracker",
    "and `tracker.log` found": "import tracker; tracker.log",
    "and one call of it": "import tracker; tracker.log({'loss': 0.5}, step=0)",
    "the same without orjson": NO_ORJSON + "import tracker; tracker.log({'loss': 0.5}, step=0)",
}


def measure() -> list[Table]:
    """The tables, from processes that believe to be in a Slurm job."""
    # On a disk, which /tmp need not be.
    with tempfile.TemporaryDirectory(prefix="tracker-client-", dir="/var/tmp") as name:
        place = Path(name)
        return [_logging(place), _starting(place), *_footprint(place)]


def _env(spool: Path) -> dict[str, str]:
    """A job's environment, as far as tracker reads it."""
    return {
        "PATH": "/usr/bin:/bin",
        "HOME": str(spool.parent),
        "LANG": "C.UTF-8",
        "SLURM_CLUSTER_NAME": "bench",
        "SLURM_JOB_ID": "4711",
        "SLURMD_NODENAME": "n1",
        "SLURM_PROCID": "0",
        "TRACKER_SPOOL": str(spool),
    }


def _spool(place: Path, name: str) -> Path:
    """The folder that a Prolog makes for a job."""
    folder = place / name / "jobs" / "bench.4711"
    folder.mkdir(mode=0o700, parents=True)
    return folder


def _answer(code: str, spool: Path, *words: str | Path) -> Any:
    """What a fresh Python prints, read as JSON."""
    argv = [sys.executable, "-c", code, *map(str, words)]
    return json.loads(subprocess.run(argv, env=_env(spool), stdout=subprocess.PIPE, check=True).stdout)


def _logging(place: Path) -> Table:
    found: dict[tuple[int, str], list[dict[str, Any]]] = {
        (scalars, encoder): [] for scalars in (1, 10) for encoder in ("orjson", "json")
    }
    for number in range(ROUNDS):
        progress(f"  log(), round {number + 1} of {ROUNDS}")
        for scalars, encoder in random.sample(list(found), len(found)):
            spool = _spool(place, f"log-{number}-{scalars}-{encoder}")
            code = (NO_ORJSON if encoder == "json" else "") + LOG
            answer = _answer(code, spool, str(scalars), str(BLOCKS), str(CALLS_A_BLOCK), spool.parent / "eighty")
            _check_all_is_there(spool, answer, encoder)
            found[scalars, encoder].append(answer)
    writes = [answer["write"] for answers in found.values() for answer in answers]
    rows = [_log_row("`os.write` of 80 bytes", writes, writes, bar_ms=None)]
    for (scalars, encoder), answers in found.items():
        name = f"`log`, {scalars} scalar{'s' if scalars > 1 else ''}, {encoder}"
        logs, beside = [answer["log"] for answer in answers], [answer["write"] for answer in answers]
        rows.append(_log_row(name, logs, beside, bar_ms=BAR_MS))
    return Table(f"One call, {ROUNDS} processes of {BLOCKS * CALLS_A_BLOCK:,} calls each", rows)


def _check_all_is_there(spool: Path, answer: dict[str, Any], encoder: str) -> None:
    """A log() that wrote nothing would be quick."""
    (file,) = spool.glob("*.jsonl")
    points = file.read_bytes().count(b'{"metrics":')
    if points != len(answer["log"]) + 1 or answer["orjson"] != (encoder == "orjson"):
        raise LabError(f"{encoder}: {points} points of {len(answer['log']) + 1} were written")


def _log_row(name: str, calls_ns: list[list[int]], beside_ns: list[list[int]], *, bar_ms: float | None) -> Row:
    """Medians over the processes of what each process had."""
    return {
        "": name,
        "p50 µs": median([median(one) for one in calls_ns]) / 1000,
        "p99 µs": median([p99(one) for one in calls_ns]) / 1000,
        "p50 ÷ write": ratio([median(one) for one in calls_ns], [median(one) for one in beside_ns]),
        "p99 ÷ write": ratio([p99(one) for one in calls_ns], [p99(one) for one in beside_ns]),
        "calls over 1 ms": sum(call > 1_000_000 for one in calls_ns for call in one),
        "of": sum(map(len, calls_ns)),
        "bar ms": bar_ms,
    }


def _starting(place: Path) -> Table:
    progress(f"  {STARTS} starts of Python")
    spool = _spool(place, "starts")
    costs: dict[str, list[_processes.Cost]] = {name: [] for name in STARTS_OF}
    for _ in range(STARTS):
        for name in random.sample(list(STARTS_OF), len(STARTS_OF)):
            costs[name].append(_processes.run([sys.executable, "-c", STARTS_OF[name]], _env(spool)))
    bare = costs["bare Python"]
    return Table(f"Start and end of a process, {STARTS} times", [_start_row(name, costs[name], bare) for name in costs])


def _start_row(name: str, costs: list[_processes.Cost], bare: list[_processes.Cost]) -> Row:
    return {
        "": name,
        "wall median ms": median([cost.wall_ms for cost in costs]),
        "CPU median ms": median([cost.cpu_ms for cost in costs]),
        "wall over bare ms": median([cost.wall_ms - other.wall_ms for cost, other in zip(costs, bare, strict=True)]),
        "CPU over bare ms": median([cost.cpu_ms - other.cpu_ms for cost, other in zip(costs, bare, strict=True)]),
    }


def _footprint(place: Path) -> list[Table]:
    progress(f"  {STARTS} times init()")
    spool = _spool(place, "footprint")
    found = [_answer(FOOTPRINT, spool) for _ in range(STARTS)]
    times = [
        measured("the first `tracker.init(…)`", [one["init"] for one in found], "ms"),
        measured("the first `tracker.log(…)` after it", [one["log"] for one in found], "ms"),
    ]
    added: list[Row] = [
        {"": "threads", "each process": max(one["threads"] for one in found)},
        {"": "open files", "each process": max(one["descriptors"] for one in found)},
        {"": "inodes (beside one for the job's folder)", "each process": len(list(spool.iterdir())) / STARTS},
    ]
    return [Table(f"In the process, {STARTS} processes", times), Table("What a process adds to the machine", added)]


if __name__ == "__main__":
    sys.exit(play("client", __doc__ or "", measure))
