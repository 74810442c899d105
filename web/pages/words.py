"""How facts are put into words and figures on a page."""

from __future__ import annotations

import hashlib
import math
from datetime import datetime

from tracker.actions.explain import HARDWARE
from tracker.quantities import byte_size, duration
from tracker.store.tables import Attempt, LogPiece, Run, Summary


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


def nth(count: int) -> str:
    """A place: 1st, 2nd, 12th."""
    ending = "th" if count % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(count % 10, "th")
    return f"{size(count)}{ending}"


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
