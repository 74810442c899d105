"""Runs to look at, put into the store as ingest and watcher would: a small cluster on a busy afternoon."""

from __future__ import annotations

import math
import random
from datetime import datetime, timedelta, timezone
from typing import Any

from sqlalchemy.orm import Session

from tracker.store import clusters, experiments, known_runs, logs, params, runs, series, writers
from tracker.store.points import Points
from tracker.store.tables import Attempt, Gpu, Log, LogPiece, Run, Writer

SCRIPT = "<script>document.body.dataset.hacked = 1</script><img src=x onerror=alert(1)>"
BIDI = "safe\u202egnp.exe\u2066"
TERMINAL = "\x1b[31mred\x1b[0m\x1b]0;owned\x07\x07"
ENDLESS = "endless " * 1250
HOSTILE = (SCRIPT, BIDI, TERMINAL, ENDLESS, "'; DROP TABLE runs; --", "{{ 7 * 7 }}", "%s%n", "../../etc/passwd")


def moment(seconds_ago: float = 0) -> datetime:
    """The moment so many seconds ago, in whole seconds as Slurm has them."""
    return datetime.now(timezone.utc).replace(microsecond=0) - timedelta(seconds=seconds_ago)


def add_run(
    session: Session,
    *,
    experiment: str = "mnist",
    state: str = "RUNNING",
    age_s: float = 600,
    took_s: float | None = None,
    gpus: dict[str, list[int]] | None = None,
    **facts: Any,
) -> Run:
    """A run of dev, submitted `age_s` ago, started soon after unless PENDING; ended after `took_s` where given."""
    submitted = moment(age_s)
    started = None if state == "PENDING" else submitted + timedelta(seconds=12)
    ended = None if took_s is None or started is None else started + timedelta(seconds=took_s)
    told = {
        "name": "train", "user": "alice", "partition": "gpu", "cluster": "dev", "job_id": random.randrange(10**9),
        "state_source": "controller" if ended is None else "accounting", "time_limit_s": 3600,
        "work_dir": "/home/alice/mnist", "command": "/home/alice/mnist/train.sh --lr 0.1", "accounting_due": False,
        "gpus_requested": sum(map(len, (gpus or {}).values())),
    } | facts  # fmt: skip
    run = Run(
        id=runs.new_id(submitted), experiment=experiments.named(session, experiment, submitted), state=state,
        created_at=submitted, updated_at=datetime.now(timezone.utc), submitted_at=submitted, started_at=started,
        ended_at=ended, **told,
    )  # fmt: skip
    session.add(run)
    session.flush()
    if started is not None:
        add_attempt(session, run, gpus or {})
    return run


def changed(session: Session, run: Run) -> None:
    """Say that something of the run changed, as ingest does: pages hear of it."""
    session.flush()
    known_runs.touch(session, [run.id], datetime.now(timezone.utc))


def add_attempt(session: Session, run: Run, gpus: dict[str, list[int]], number: int = 1, **facts: Any) -> None:
    """An allocation of the run, by node the indices of its GPUs."""
    told = {"started_at": run.started_at, "ended_at": run.ended_at, "state": run.state} | facts
    session.add(Attempt(run_id=run.id, number=number, nodes=",".join(gpus) or "n1", **told))
    session.flush()
    for node, indices in gpus.items():
        for index in indices:
            where = {"run_id": run.id, "attempt": number, "cluster": run.cluster, "node": node, "index": index}
            held = {"started_at": told["started_at"], "ended_at": told["ended_at"]}
            session.add(Gpu(**where, **held, uuid=f"GPU-{node}-{index}", type="a100"))


def log(
    session: Session, run: Run, metric: str, values: list[float], first_step: int = 0, every_s: float = 1,
    *, rank: int = 0, restarts: int = 0, node: str = "n1", kind: str = writers.SCRIPT, ago_s: float = 0,
) -> None:  # fmt: skip
    """Points of a metric, one step each, the last one `ago_s` before now or before the run's end."""
    name = f"w{rank}-{restarts}-{node}-{kind}"
    writer = session.get(Writer, (run.id, name))
    if writer is None:
        writer = Writer(run_id=run.id, name=name, rank=rank, restarts=restarts, node=node, kind=kind)
        writer.first_step = first_step
        session.add(writer)
    writer.next_step = first_step + len(values)
    session.flush()
    last = (run.ended_at or moment()).timestamp() - ago_s
    times = [round((last - (len(values) - index) * every_s) * 1e6) for index in range(len(values))]
    steps = list(range(first_step, first_step + len(values)))
    series.append(session, writer, {metric: Points.of(steps, times, values)})
    changed(session, run)


def curves(session: Session, run: Run, count: int, seed: int = 1) -> None:
    """What a training logs: loss, accuracy, learning rate, and how busy the machine was."""
    chance = random.Random(seed)
    falling = [2.3 * math.exp(-step / (count / 4)) + 0.12 + chance.gauss(0, 0.03) for step in range(count)]
    log(session, run, "loss", falling)
    log(session, run, "val/loss", [value + 0.05 + chance.random() * 0.04 for value in falling[:: max(1, count // 40)]])
    log(session, run, "accuracy", [1 - value / 3 + chance.gauss(0, 0.004) for value in falling])
    log(session, run, "lr", [1e-3 * (1 + math.cos(math.pi * step / count)) / 2 for step in range(count)])
    log(session, run, "system/gpu.0.utilization_percent", [94 + chance.gauss(0, 3) for _ in range(min(count, 300))])
    log(
        session,
        run,
        "system/gpu.0.memory_bytes",
        [(31_200 + 300 * (step % 7)) * 1_000_000 for step in range(min(count, 300))],
    )


def print_output(session: Session, run: Run, text: str, stream: str = "stdout", **facts: Any) -> None:
    """What the job printed, from the beginning."""
    told = {"path": f"/home/alice/slurm-{run.job_id}.{stream[3:]}", "node": "n1"} | facts
    raw = text.encode()
    pieces = [raw[start : start + logs.PIECE_BYTES] for start in range(0, len(raw), logs.PIECE_BYTES)]
    for number, piece in enumerate(pieces):
        session.merge(LogPiece(run_id=run.id, stream=stream, number=number, content=piece))
    held = {"pieces": len(pieces), "offset_bytes": len(raw), "kept_bytes": len(raw)}
    session.merge(Log(run_id=run.id, stream=stream, **told, **held))
    changed(session, run)


def add_cluster(session: Session, name: str = "dev", as_of: datetime | None = None, problem: str | None = None) -> None:
    """Two nodes with GPUs, one without that is down."""
    cluster = clusters.get(session, name)
    cluster.as_of, cluster.problem = as_of or moment(), problem
    cluster.next_look_at = cluster.as_of
    node = {"state": "MIXED", "reason": None, "cpus": 64, "memory_mb": 515_000, "memory_alloc_mb": 200_000}
    node |= {"partitions": ["gpu", "low"]}
    cluster.nodes = [
        node | {"name": "n1", "cpus_alloc": 48, "gpus": 4, "gpus_used": 4},
        node | {"name": "n2", "cpus_alloc": 16, "gpus": 4, "gpus_used": 1},
        node | {"name": "n3", "cpus_alloc": 0, "gpus": 0, "gpus_used": 0, "state": "DOWN*", "reason": "Not responding"},
    ]


def busy_afternoon(session: Session) -> dict[str, Run]:
    """A cluster with all that a home page can show; some of its runs by what they are."""
    add_cluster(session)
    shown = {"running": add_run(session, name="resnet50 baseline", age_s=1500, gpus={"n1": [0, 1]}, job_id=4711)}
    curves(session, shown["running"], 900)
    given = {"lr": "0.001", "batch_size": "256", "optimizer/name": "adamw", "optimizer/weight_decay": "0.05"}
    params.set_params(session, shown["running"].id, given)
    params.set_tags(session, shown["running"].id, {"stage": "draft", "dataset": "imagenet-1k"})
    lines = [f"epoch {epoch:3} loss {2.3 * math.exp(-epoch / 20):.4f} 1241 img/s\n" for epoch in range(60)]
    print_output(session, shown["running"], "".join(lines))
    print_output(session, shown["running"], "", "stderr")
    for task in range(2):
        run = add_run(
            session, name="lr sweep", experiment="digits", age_s=400, gpus={"n1": [2 + task]}, array_job_id=4700,
            array_task_id=task, job_id=4720 + task, time_limit_s=900,
        )  # fmt: skip
        curves(session, run, 200, task)
    shown["pending"] = add_run(
        session, name="vit-large", state="PENDING", age_s=260, reason="Resources", gpus_requested=4, job_id=4730
    )
    for reason, name in (("Priority", "vit-large seed 2"), ("Dependency", "evaluate"), ("JobHeldUser", "ablation")):
        add_run(session, name=name, state="PENDING", age_s=120, reason=reason, user="bob", gpus_requested=1)
    ends = (
        ("COMPLETED", {"exit_code": 0}), ("FAILED", {"exit_code": 3, "reason": "NonZeroExitCode"}), ("TIMEOUT", {}),
        ("OUT_OF_MEMORY", {"signal": 9}), ("CANCELLED", {}), ("PREEMPTED", {}), ("NODE_FAIL", {}), ("COMPLETED", {}),
        ("LOST", {"cluster": None, "job_id": None}),
    )  # fmt: skip
    for index, (state, facts) in enumerate(ends):
        age_s, name = 4000 + 700 * index, ["resnet18", "mlp baseline", "transformer xl", "detr"][index % 4]
        run = add_run(
            session, name=name, experiment=["mnist", "digits", "coco"][index % 3], state=state, age_s=age_s,
            took_s=300 + 317 * index, gpus={"n2": [index % 4]}, user=["alice", "bob"][index % 2], **facts,
        )  # fmt: skip
        if state not in ("CANCELLED", "NODE_FAIL"):
            curves(session, run, 150, index)
        shown.setdefault(state, run)
    shown["FAILED"].accounting_due, shown["FAILED"].state_source = True, "hook"
    return shown


def resumed_twice(session: Session, ranks: int = 8, steps: int = 600) -> Run:
    """A job of many ranks on two nodes in its third attempt, each of which resumed from a checkpoint."""
    run = add_run(session, name="resumed twice", experiment="ranks", age_s=4000, gpus={"n1": [0, 1], "n2": [0, 1]})
    for number in (2, 3):
        add_attempt(session, run, {"n1": [0, 1], "n2": [0, 1]}, number=number, restarts=number - 1)
    for restarts, (first, end) in enumerate(((0, steps), (steps // 2, steps * 3 // 2), (steps, steps * 2))):
        for rank in range(ranks):
            chance = random.Random(100 * restarts + rank)
            values = [
                2.3 * math.exp(-step / steps) + 0.05 * rank * math.exp(-step / steps) + chance.gauss(0, 0.03)
                for step in range(first, end)
            ]
            who = {"rank": rank, "restarts": restarts, "node": f"n{1 + 2 * rank // ranks}"}
            log(session, run, "loss", values, first, ago_s=1000.0 * (2 - restarts), **who)
            if rank == 0:
                log(session, run, "val/loss", values[::50], first // 50, ago_s=1000.0 * (2 - restarts), **who)
        for node in ("n1", "n2"):
            chance = random.Random(restarts + len(node))
            busy = [70 + 10 * (node == "n2") + chance.gauss(0, 4) for _ in range(60)]
            who = {"restarts": restarts, "node": node, "kind": writers.MACHINE}
            log(session, run, "system/cpu.percent", busy, 0, every_s=15, ago_s=1000.0 * (2 - restarts), **who)
    return run
