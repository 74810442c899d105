"""What runs inside a measured process: `python _in_process.py SCENARIO TRACKER FOLDER ARGUMENTS`.

It is started by its path, by the Python that has the tracker: nothing of ours is imported unless it is measured, and
nothing else that a tracker might load itself. The answer is a Python
literal in the file `answer` of FOLDER.
"""

from __future__ import annotations

import os
import sys
import time

TYPE_CHECKING = False  # what type checkers take for true; `typing` and `collections` would be loaded before they count
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Log = Callable[[dict[str, float], int], object]
    Finish = Callable[[], object]
    Answer = dict[str, object]

EIGHTY = b"x" * 79 + b"\n"
POINTS_OF_A_SHORT_RUN = 100
MODULES = {
    "nothing": "time",
    "tracker": "tracker",
    "tracker-json": "tracker",
    "trackio": "trackio",
    "tensorboardX": "tensorboardX",
    "wandb": "wandb",
    "mlflow": "mlflow",
    "mlflow-async": "mlflow",
}


# -- beginning a run, each as its documentation says


def begin(name: str, folder: str) -> tuple[Log, Finish]:
    """Begin a run. Gives the call that logs a dictionary at a step and the call that ends the run."""
    if name == "nothing":
        return (lambda metrics, step: None), (lambda: None)
    if name in ("tracker", "tracker-json"):
        return _tracker()
    if name == "trackio":
        return _trackio()
    if name == "tensorboardX":
        return _tensorboard_x(folder)
    if name == "wandb":
        return _wandb()
    return _mlflow(folder, synchronous=name == "mlflow")


def _tracker() -> tuple[Log, Finish]:
    import tracker

    tracker.init(experiment="bench", params={"lr": 0.1})
    return tracker.log, tracker.finish


def _trackio() -> tuple[Log, Finish]:
    import trackio

    trackio.init(project="bench", config={"lr": 0.1}, embed=False)
    return trackio.log, trackio.finish


def _tensorboard_x(folder: str) -> tuple[Log, Finish]:
    from tensorboardX import SummaryWriter

    writer = SummaryWriter(folder + "/events")
    add = writer.add_scalar

    def log(metrics: dict[str, float], step: int) -> None:
        for name, value in metrics.items():
            add(name, value, step)

    return log, writer.close


def _wandb() -> tuple[Log, Finish]:
    import wandb

    run = wandb.init(project="bench", config={"lr": 0.1})
    return run.log, run.finish


def _mlflow(folder: str, *, synchronous: bool) -> tuple[Log, Finish]:
    import mlflow

    mlflow.set_experiment("bench")
    mlflow.start_run(run_name=os.path.basename(folder))
    mlflow.log_params({"lr": 0.1})
    if synchronous:
        return mlflow.log_metrics, mlflow.end_run
    return (lambda metrics, step: mlflow.log_metrics(metrics, step, synchronous=False)), mlflow.end_run


# -- scenarios


def tight(name: str, folder: str, scalars: int, blocks: int, calls: int, beside_write: bool, limit_s: float) -> Answer:
    """Log as fast as it goes. With `beside_write` in turn with blocks of bare writes. Gives nanoseconds a call."""
    __import__(MODULES[name])
    log, _ = begin(name, folder)
    names = ["loss", *(f"train/metric_{number}" for number in range(1, scalars))]
    clock, write = time.perf_counter_ns, os.write
    fd = os.open(folder + "/eighty", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    logs_ns, writes_ns = [], []
    log({"loss": 0.5}, 0)
    deadline_ns = clock() + int(limit_s * 1e9)
    for block in range(blocks):
        for step in range(1 + block * calls, 1 + (block + 1) * calls):
            metrics = {each: 0.125 + step / 7 for each in names}
            began_ns = clock()
            log(metrics, step)
            ended_ns = clock()
            logs_ns.append(ended_ns - began_ns)
            if ended_ns > deadline_ns:
                break
        for _ in range(calls if beside_write else 0):
            began_ns = clock()
            write(fd, EIGHTY)
            writes_ns.append(clock() - began_ns)
        if clock() > deadline_ns:
            break
    answer = {"log": logs_ns, "write": writes_ns}
    if name.startswith("tracker"):
        answer["orjson"] = [int(sys.modules.get("orjson") is not None)]
    _answer(folder, answer)
    os._exit(0)  # what is still queued is another scenario's matter


def whole(name: str, folder: str) -> Answer:
    """Live the life of a short run. Gives milliseconds of its parts and what it adds to the machine."""
    threads, resident, inodes = _threads(), _resident_bytes("self"), inodes_of(folder)
    clock = time.monotonic
    cpu_began_s, began_s = time.process_time(), clock()
    __import__(MODULES[name])
    imported_s = clock()
    log, finish = begin(name, folder)
    ready_s = clock()
    log({"loss": 0.5}, 0)
    logged_s, cpu_s = clock(), time.process_time() - cpu_began_s
    for step in range(1, POINTS_OF_A_SHORT_RUN):
        log({"loss": 0.5 + step}, step)
        time.sleep(0.01)
    helpers = list(_descendants(os.getpid()))
    answer: Answer = {
        "threads": _threads() - threads,
        "helpers": len(helpers),
        "resident_bytes": _resident_bytes("self") - resident,
        "helpers_resident_bytes": sum(map(_resident_bytes, helpers)),
        "inodes": inodes_of(folder) - inodes,
        "import_ms": (imported_s - began_s) * 1000,
        "init_ms": (ready_s - imported_s) * 1000,
        "first_log_ms": (logged_s - ready_s) * 1000,
        "ready_cpu_ms": cpu_s * 1000,
    }
    answer["last_s"] = clock()
    finish()
    answer["finish_ms"] = (clock() - float(str(answer["last_s"]))) * 1000
    return answer


def paced(name: str, folder: str, pause_s: float, lasting_s: float) -> Answer:
    """Train for a while: a product of two matrices and one call of log each `pause_s`. Gives nanoseconds a step."""
    import numpy

    matrix = numpy.random.default_rng(0).random((384, 384), dtype=numpy.float32)
    __import__(MODULES[name])
    log, _ = begin(name, folder)
    clock = time.perf_counter_ns
    for step in range(20):
        matrix @ matrix
        log({"loss": 0.5}, step)
    steps_ns, logs_ns, step = [], [], 20
    cpu_s, next_s = _cpu_s(), time.monotonic()
    end_s = next_s + lasting_s
    while next_s < end_s:
        time.sleep(max(0.0, next_s - time.monotonic()))
        next_s = max(next_s + pause_s, time.monotonic())
        began_ns = clock()
        matrix @ matrix
        multiplied_ns = clock()
        log({"loss": 0.125 + step / 7}, step)
        ended_ns = clock()
        steps_ns.append(ended_ns - began_ns)
        logs_ns.append(ended_ns - multiplied_ns)
        step += 1
    _answer(folder, {"step": steps_ns, "log": logs_ns, "cpu_s": [_cpu_s() - cpu_s]})
    os._exit(0)


def eager(name: str, folder: str, pause_s: float, lasting_s: float) -> Answer:
    """Log from the first moment of a run on, which is when its surroundings are captured. Gives nanoseconds a call."""
    __import__(MODULES[name])
    log, _ = begin(name, folder)
    clock, logs_ns, step = time.perf_counter_ns, [], 0
    end_ns = clock() + int(lasting_s * 1e9)
    while clock() < end_ns:
        began_ns = clock()
        log({"loss": 0.125 + step / 7}, step)
        logs_ns.append(clock() - began_ns)
        step += 1
        time.sleep(pause_s)
    _answer(folder, {"log": logs_ns})
    os._exit(0)


def killed(name: str, folder: str) -> Answer:
    """Log about once a millisecond until somebody kills this process; the file `count` holds how often log returned."""
    import mmap

    __import__(MODULES[name])
    log, _ = begin(name, folder)
    with open(folder + "/count", "r+b") as file:
        count = mmap.mmap(file.fileno(), 8)
    step = 0
    while True:
        log({"loss": 0.125 + step / 7}, step)
        step += 1
        count[:8] = step.to_bytes(8, "little")
        time.sleep(0.001)


def read(name: str, folder: str) -> Answer:
    """Read a run back as its tracker does. Gives how many steps of it are there."""
    readers = {
        "trackio": _steps_of_trackio,
        "tensorboardX": _steps_of_tensorboard,
        "wandb": _steps_of_wandb,
        "mlflow": _steps_of_mlflow,
        "mlflow-async": _steps_of_mlflow,
    }
    return {"steps": len(set((readers.get(name) or _steps_of_tracker)(folder)))}


# -- reading back


def _steps_of_tracker(folder: str) -> Iterator[int]:
    """As docs/spool.md says: a line without its newline does not count yet."""
    import json

    spool = os.environ["TRACKER_SPOOL"]
    for name in os.listdir(spool):
        if name.endswith(".jsonl"):
            with open(f"{spool}/{name}", "rb") as file:
                for line in file.read().split(b"\n")[:-1]:
                    message = json.loads(line)
                    if "metrics" in message:
                        yield message["step"]


def _steps_of_trackio(folder: str) -> Iterator[int]:
    from trackio.sqlite_storage import SQLiteStorage

    for run in SQLiteStorage.get_runs("bench"):
        for entry in SQLiteStorage.get_logs("bench", run):
            yield entry["step"]


def _steps_of_tensorboard(folder: str) -> Iterator[int]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(folder + "/events", size_guidance={"scalars": 0})
    found.Reload()
    if "loss" in found.Tags()["scalars"]:
        for event in found.Scalars("loss"):
            yield event.step


def _steps_of_wandb(folder: str) -> Iterator[int]:
    """W&B has no reader of its own for offline runs: this is LevelDB's log format with its records in it."""
    from wandb.proto.wandb_internal_pb2 import Record

    for path, _, names in os.walk(folder):
        for name in names:
            if name.endswith(".wandb"):
                with open(f"{path}/{name}", "rb") as file:
                    for raw in _leveldb_records(file.read()):
                        record = Record.FromString(raw)
                        if record.WhichOneof("record_type") == "history":
                            yield record.history.step.num


def _leveldb_records(data: bytes) -> Iterator[bytes]:
    """Records in blocks of 32 KiB: checksum (4 bytes), length (2), kind (1: whole, 2: first, 3: middle, 4: last)."""
    block, header = 32 * 1024, 7
    at, record = header, b""  # the file begins with as many bytes of its own
    while at + header <= len(data):
        room = block - at % block
        if room < header:
            at += room
            continue
        length, kind = int.from_bytes(data[at + 4 : at + 6], "little"), data[at + 6]
        piece = data[at + header : at + header + length]
        if kind == 0 or len(piece) < length:
            return
        record = piece if kind in (1, 2) else record + piece
        if kind in (1, 4):
            yield record
        at += header + length


def _steps_of_mlflow(folder: str) -> Iterator[int]:
    from mlflow.tracking import MlflowClient

    client = MlflowClient()
    experiment = client.get_experiment_by_name("bench")
    named = f"attributes.run_name = '{os.path.basename(folder)}'"
    for run in client.search_runs([experiment.experiment_id], named) if experiment else ():
        for metric in client.get_metric_history(run.info.run_id, "loss"):
            yield metric.step


# -- what the machine says of a process


def _threads() -> int:
    return len(os.listdir("/proc/self/task"))


def _resident_bytes(pid: int | str) -> int:
    try:
        with open(f"/proc/{pid}/statm", "rb") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:  # it has just ended
        return 0


def _descendants(pid: int) -> Iterator[int]:
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/children", "rb") as file:
                for child in map(int, file.read().split()):
                    yield child
                    yield from _descendants(child)
    except OSError:  # it has just ended
        return


def _cpu_s() -> float:
    """Processor seconds of this process and of its helpers."""
    ticks = 0
    for pid in _descendants(os.getpid()):
        try:
            with open(f"/proc/{pid}/stat", "rb") as file:
                ticks += sum(map(int, file.read().rpartition(b")")[2].split()[11:13]))
        except OSError:
            continue
    return time.process_time() + ticks / os.sysconf("SC_CLK_TCK")


def inodes_of(folder: str) -> int:
    """Count what stands in a folder."""
    return sum(len(folders) + len(files) for _, folders, files in os.walk(folder))


# -- the door


def _answer(folder: str, answer: object) -> None:
    with open(folder + "/answer", "w", encoding="ascii") as file:
        file.write(
            repr(answer)
        )  # the module `json` would be loaded for it, in a process that a tracker did not give it


def main(scenario: str, name: str, folder: str, *arguments: str) -> None:
    """Do what the command line says."""
    if name == "tracker-json":
        sys.modules["orjson"] = None  # type: ignore[assignment]  # as if it were not installed
    numbers = [float(one) if "." in one else int(one) for one in arguments]
    scenarios: dict[str, Callable[..., Answer]] = {
        "tight": tight, "whole": whole, "paced": paced, "eager": eager, "killed": killed, "read": read,
    }  # fmt: skip
    _answer(folder, scenarios[scenario](name, folder, *numbers))


if __name__ == "__main__":
    main(*sys.argv[1:])
