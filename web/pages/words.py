"""How facts are put into words and figures on a page."""

from __future__ import annotations

import hashlib
import math
import signal
from datetime import datetime, timedelta

from tracker.states import LIVE_STATES
from tracker.store.tables import Attempt, LogPiece, Run, Summary

HARDWARE = "system/"  # begins the names of what agents measure
"""How the names of metrics begin that tell of the machine."""

_PENDING_REASONS = {
    "AssocGrpGRES": "your group already holds all GPUs it may hold",
    "AssocMaxJobsLimit": "you already run as many jobs as you may",
    "BadConstraints": "no node has what the job asks for",
    "BeginTime": "waits for its begin time (after a requeue Slurm waits about two minutes)",
    "Dependency": "waits for another job",
    "DependencyNeverSatisfied": "waits for a job that did not end as required; it will never start",
    "JobArrayTaskLimit": "as many tasks of this array run as it allows at once",
    "JobHeldAdmin": "held by an administrator",
    "JobHeldUser": "held by its user, who can release it",
    "Licenses": "waits for a licence",
    "NodeDown": "a node that it needs is down",
    "None": "Slurm has not looked at it yet",
    "PartitionDown": "its partition is down",
    "PartitionInactive": "its partition takes no jobs now",
    "PartitionNodeLimit": "asks for more nodes than its partition gives",
    "PartitionTimeLimit": "asks for more time than its partition gives",
    "Priority": "other jobs come first",
    "QOSMaxGRESPerUser": "you already hold all GPUs you may hold",
    "QOSMaxJobsPerUserLimit": "you already run as many jobs as you may",
    "ReqNodeNotAvail": "a node that it asks for is not available",
    "Reservation": "waits for its reservation",
    "Resources": "next in line; waits for nodes or GPUs to become free",
}
_ENDS = {
    "OUT_OF_MEMORY": "It needed more memory than it had asked for.",
    "CANCELLED": "It was cancelled.",
    "PREEMPTED": "It had to make room for a job of higher priority.",
    "NODE_FAIL": "A node failed under it.",
    "BOOT_FAIL": "A node did not boot.",
    "DEADLINE": "It could not end before its deadline.",
    "REVOKED": "Another cluster took it over.",
    "LOST": "Nothing was heard from it any more.",
}


def state_word(state: str) -> str:
    """Slurm's state as a person would write it."""
    return state.replace("_", " ").lower()


def title(run: Run) -> str:
    """What to call the run."""
    return run.name or job(run) or f"run {run.id[:8]}"


def job(run: Run) -> str:
    """How the run's job is called, `dev:12` or `dev:12_3`; empty outside Slurm."""
    if run.array_job_id is not None and run.array_task_id is not None:
        return f"{run.cluster}:{run.array_job_id}_{run.array_task_id}"
    return f"{run.cluster}:{run.job_id}" if run.job_id is not None else ""


def explain(run: Run) -> str:
    """Why the run is in its state, one sentence or nothing."""
    if run.state == "PENDING":
        return _waiting(run.reason or "None")
    if run.state in LIVE_STATES or run.state == "COMPLETED":
        return ""
    if run.state == "TIMEOUT":
        return (
            f"It ran into its time limit of {duration(run.time_limit_s)}."
            if run.time_limit_s
            else "It ran out of time."
        )
    if run.state == "CANCELLED" and run.reason and run.reason.startswith("by "):
        return f"It was cancelled {run.reason}."
    said = _ENDS.get(run.state, "")
    if run.signal:
        said = f"{said} It was killed by {_signal_name(run.signal)}."
    elif run.exit_code:
        said = f"{said} It ended with exit code {run.exit_code}."
    if run.reason and run.reason not in ("None", "NonZeroExitCode", "RaisedSignal"):
        said = (
            f"{said} Slurm says: {run.reason}." if run.cluster else f"{said} {run.reason[:1].upper()}{run.reason[1:]}."
        )
    return said.strip()


def _waiting(reason: str) -> str:
    word = reason.partition(",")[0].strip()
    if word in _PENDING_REASONS:
        return f"{_PENDING_REASONS[word][:1].upper()}{_PENDING_REASONS[word][1:]}."
    return f"Slurm says: {reason}."


def _signal_name(number: int) -> str:
    try:
        return f"{signal.Signals(number).name} (signal {number})"
    except ValueError:
        return f"signal {number}"


def duration(seconds: float | timedelta | None) -> str:
    """A length of time by its two greatest units, such as `2h 05m`."""
    if seconds is None:
        return ""
    whole = max(0, int(seconds.total_seconds() if isinstance(seconds, timedelta) else seconds))
    minutes, second = divmod(whole, 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    if days:
        return f"{days}d {hour:02}h"
    if hours:
        return f"{hours}h {minute:02}m"
    return f"{minutes}m {second:02}s" if minutes else f"{second}s"


def spent(run: Run) -> str:
    """How long the ended run took."""
    return duration(run.ended_at - run.started_at) if run.started_at and run.ended_at else ""


def iso(time: datetime) -> str:
    """The moment for programs."""
    return time.isoformat(timespec="seconds").replace("+00:00", "Z")


def exact(time: datetime) -> str:
    """The moment in full."""
    return f"{time:%Y-%m-%d %H:%M:%S} UTC"


def moment(time: datetime) -> str:
    """The moment in short, for readers without scripts; the script shows it in local time."""
    return f"{time:%-d %b, %H:%M} UTC"


def number(value: float | None) -> str:
    """A figure as short as it can be read."""
    if value is None:
        return "\u2013"
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("∞" if value > 0 else "\u2212∞")
    if value == int(value) and abs(value) < 1e6:
        return f"{int(value):,}".replace(",", "\u202f").replace("-", "\u2212")
    return f"{value:.4g}".replace("-", "\u2212")


def size(count: int) -> str:
    """A whole number with thin spaces between thousands."""
    return f"{count:,}".replace(",", "\u202f")


def byte_size(count: float) -> str:
    """A number of bytes as people say it, such as `1.5 GiB`."""
    size = float(count)
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if abs(size) < 1023.5 or unit == "TiB":
            break
        size /= 1024
    return f"{size:.3g} {unit}" if abs(size) < 999.5 else f"{size:.0f} {unit}"


def figure(value: float | None, metric: str) -> str:
    """A value of a metric, in the unit that the end of the metric's name tells."""
    if value is not None and math.isfinite(value):
        if metric.endswith("_bytes"):
            return byte_size(value)
        if metric.endswith("_bytes_per_s"):
            return f"{byte_size(value)}/s"
    return number(value)


def mark(piece: LogPiece) -> str:
    """What is missing before a piece of output; empty if nothing is."""
    anew = "the file was written anew" if piece.anew else ""
    return " · ".join(
        filter(None, (anew, f"{byte_size(piece.left_out_bytes)} left out" if piece.left_out_bytes else ""))
    )


def mean(summary: Summary) -> float | None:
    """The mean of a metric's finite values."""
    return summary.total / summary.finite_count if summary.finite_count else None


def key_metrics(run: Run, count: int = 3) -> list[Summary]:
    """The metrics to show where there is room for few: the script's own before those of the machine."""
    return sorted(run.summary, key=lambda one: (one.metric.startswith(HARDWARE), one.metric))[:count]


def host_gpus(attempt: Attempt) -> list[tuple[str, str]]:
    """Each node with the indices of its GPUs that the attempt held."""
    nodes: dict[str, list[str]] = {}
    for gpu in attempt.gpus:
        nodes.setdefault(gpu.node, []).append(str(gpu.index))
    return [(node, ", ".join(indices)) for node, indices in nodes.items()]


def gpu_types(run: Run) -> str:
    """How many GPUs of which type the run holds, held last, or asks for, such as `2 \u00d7 a100`."""
    held = run.attempts[-1].gpus if run.attempts else []
    if not held:
        return str(run.gpus_requested) if run.gpus_requested else ""
    types = sorted({gpu.type for gpu in held if gpu.type})
    return f"{len(held)} \u00d7 {', '.join(types)}" if types else str(len(held))


def anchor(name: str) -> str:
    """An id for the page that stays the same for the same name, whatever the name has in it."""
    return f"m-{hashlib.sha256(name.encode()).hexdigest()[:12]}"
