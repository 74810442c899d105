"""Apply what a Prolog or an Epilog on a node reports: the run exists, holds this node and its GPUs, and ended there."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timezone

from tracker.actions.read_values import text, utc
from tracker.errors import BadInput
from tracker.store import attempts, clusters, experiments, gpus, hook_events, runs
from tracker.store.attempts import HeldGpu
from tracker.store.database import Session
from tracker.store.tables import Attempt, Run

_NAME = re.compile(r"[\w.-]{1,255}\Z")
MOST_GPUS = 1024
"""Of one node that are kept, parts of GPUs among them."""
_UUID = re.compile(r"(?:GPU|MIG)-[0-9A-Za-z/-]{1,90}\Z")


def apply_hook(
    session: Session,
    *,
    name: str,
    node: str,
    cluster: str | None,
    stamped_at: datetime,
    at: datetime,
    said: Mapping[str, str],
) -> None:
    """Apply one hook's event, once: a repetition changes nothing. Raises BadInput when it names no job.

    `stamped_at` is its time on the node's clock, by which it is known again; `at` is when that was.
    """
    named, job_id = job_of(said)
    cluster = named or cluster
    node = said.get("SLURMD_NODENAME") or node
    if not job_id or not cluster or not _NAME.match(cluster) or not _NAME.match(node):
        raise BadInput("A hook's event needs SLURM_JOB_ID, SLURM_CLUSTER_NAME and SLURMD_NODENAME.")
    apply = _HOOKS.get(said.get("HOOK", ""))
    if apply is None:
        raise BadInput(f"There is no hook `{said.get('HOOK', '')[:40]}`.")
    starting = apply is _begin and _restarts(said) == 0
    run = runs.of_job(session, cluster, job_id, at, starting=starting) or _registered(
        session, cluster, job_id, at, said
    )
    if not hook_events.remember(session, run.id, cluster=cluster, node=node, name=name, happened_at=stamped_at):
        return
    known = attempts.of(session, run.id)
    runs.changes(run, updated_at=datetime.now(timezone.utc))
    attempt = apply(session, run, known, at, said)
    held = _gpus(said)
    attempts.add_node(session, attempt, cluster, node, held, at if apply is _end else None)
    session.flush()
    attempts.put_in_order(session, run.id, known)
    if held:
        gpus.settle(session, [run.id])


def job_of(said: Mapping[str, str]) -> tuple[str | None, int | None]:
    """The cluster and the job id that a hook's event names; of a het job the leader's id, as it is one run."""
    return said.get("SLURM_CLUSTER_NAME") or None, _number(said, "SLURM_HET_JOB_ID") or _number(said, "SLURM_JOB_ID")


def _registered(session: Session, cluster: str, job_id: int, at: datetime, said: Mapping[str, str]) -> Run:
    return runs.add(
        session, experiment=experiments.named(session, experiments.DEFAULT, at), now=at, state="PENDING",
        state_source="hook", cluster=cluster, job_id=job_id, het_job_id=_number(said, "SLURM_HET_JOB_ID"),
        user=text(said.get("SLURM_JOB_USER")), account=text(said.get("SLURM_JOB_ACCOUNT")),
        partition=text(said.get("SLURM_JOB_PARTITION")), work_dir=text(said.get("SLURM_JOB_WORK_DIR")),
    )  # fmt: skip


def _begin(session: Session, run: Run, known: list[Attempt], at: datetime, said: Mapping[str, str]) -> Attempt:
    restarts = _restarts(said)
    attempt = attempts.holding(known, at, restarts)
    if attempt is None:
        attempt = attempts.add(session, run.id, known, _start(said) or at, "RUNNING", restarts, source="hook")
        if attempt.number > 1:
            runs.changes(run, accounting_due=True)
    if attempt.started_at is None:  # its Epilog was quicker
        attempt.started_at = _start(said) or at
        runs.changes(run, started_at=run.started_at or attempt.started_at)
    if attempt.ended_at is None and (run.state == "PENDING" or run.state_source == "hook"):
        run.ended_at = run.exit_code = run.signal = run.reason = None
        runs.changes(run, state="RUNNING", state_source="hook", started_at=run.started_at or attempt.started_at)
    return attempt


def _end(session: Session, run: Run, known: list[Attempt], at: datetime, said: Mapping[str, str]) -> Attempt:
    attempt = attempts.begun_by(known, at) or attempts.add(
        session, run.id, known, _start(said), "RUNNING", source="hook"
    )
    if attempt is not known[-1] and attempt.end_source is None:  # that it was requeued is known, but not when
        attempt.ended_at, attempt.end_source = at, "hook"
    elif attempt.ended_at is None:
        exit_code, signal = _exit(said)
        attempt.ended_at, attempt.end_source = at, "hook"
        attempt.state = "COMPLETED" if (exit_code, signal) == (0, 0) else "FAILED"
        run.accounting_due = True
        # An exit code of 0 is no success yet: a cancelled, preempted or timed-out job shows it, too. While a watcher
        # is at work the answer of Slurm's accounting is a moment away, and nothing has to be guessed.
        if not clusters.is_watched(clusters.find(session, run.cluster or ""), datetime.now(timezone.utc)):
            runs.changes(run, state=attempt.state, state_source="hook", ended_at=at, exit_code=exit_code, signal=signal)
    return attempt


_HOOKS = {"prolog": _begin, "epilog": _end}


def _exit(said: Mapping[str, str]) -> tuple[int, int]:
    exit_code, _, signal = said.get("SLURM_JOB_EXIT_CODE2", "0:0").partition(":")
    return (int(exit_code), int(signal)) if exit_code.isdecimal() and signal.isdecimal() else (0, 0)


def _start(said: Mapping[str, str]) -> datetime | None:
    started_s = _number(said, "SLURM_JOB_START_TIME")
    return utc(started_s) if started_s else None


def _restarts(said: Mapping[str, str]) -> int | None:
    """Requeues before this start. An Epilog's count is of no use: a requeue has raised it by then."""
    count = said.get("SLURM_JOB_RESTART_COUNT", "")
    return int(count) if re.fullmatch(r"\d{1,6}", count) else None


def _gpus(said: Mapping[str, str]) -> list[HeldGpu]:
    """The GPUs of the node that the job has.

    Slurm writes the devices' UUIDs, where it knows them, into CUDA_VISIBLE_DEVICES in the order of SLURM_JOB_GPUS:
    those of a GPU's parts (MIG), and of whole GPUs with `Flags=env_uuid` (src/plugins/gres/common/gres_common.c).
    """
    told = said.get("SLURM_JOB_GPUS", "").split(",")[:MOST_GPUS]
    indices = [int(one) for one in told if re.fullmatch(r"[0-9]{1,4}", one)]
    names = said.get("CUDA_VISIBLE_DEVICES", "").split(",")[:MOST_GPUS]
    if len(names) != len(indices) or not all(map(_UUID.match, names)):
        names = [""] * len(indices)
    return [
        HeldGpu(index, name if name.startswith("GPU-") else None, name if name.startswith("MIG-") else None)
        for index, name in zip(indices, names, strict=True)
    ]


def _number(said: Mapping[str, str], name: str) -> int | None:
    value = said.get(name, "")
    return int(value) if re.fullmatch(r"[1-9]\d{0,11}", value) else None
