"""Tell how well a job used what it held, and what to ask for the next time: from accounting and the agent's samples.

Advice is given only where the evidence is good and what it saves matters, and never below what was used:

- after a run that ended well in its only attempt and took LEAST_S or more;
- memory: the most that was seen, with MEMORY_ROOM, where samples speak for ENOUGH of its time on each of its nodes, or
  accounting measured;
- time: what it took, with TIME_ROOM;
- processors: those busy in the mean with CPU_ROOM, or at the most in any sample, where samples speak for ENOUGH; of a
  job with several tasks their part of it;
- GPUs: without those that did nothing at all.

Fewer processors or GPUs may bring less memory with them (`--mem-per-cpu`, `DefMemPerGPU`): advice for them always says
how much memory as well.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from tracker.actions.forecast import as_time_option
from tracker.quantities import byte_size, duration
from tracker.store import progress
from tracker.store.database import Session
from tracker.store.tables import Run, Summary

LEAST_S = 300.0
ENOUGH = 0.8
MEMORY_ROOM, TIME_ROOM, CPU_ROOM = 1.2, 1.25, 1.25
_GIB = 1024**3
_MIB = 1024**2
_LEAST_SAVED_BYTES, _LEAST_SAVED_S, _LEAST_SAVED_CPUS = _GIB, 1800.0, 2
_MOST_OF_ASKED = 0.75
"""What is advised is at most this part of what was asked for."""
_IDLE_PERCENT, _BUSY_PERCENT = 1.0, 25.0
_GPU = re.compile(r"system/gpu\.(\d{1,3})\.utilization_percent\Z")
_MOST_GPUS = 64
_SIZES = ((_GIB, _MIB * 128), (16 * _GIB, _GIB), (64 * _GIB, 2 * _GIB), (256 * _GIB, 8 * _GIB), (math.inf, 16 * _GIB))
"""Up to so much, sizes are rounded up to that."""
_CPU, _MEMORY = "system/cpu.percent", "system/memory_bytes"


@dataclass(frozen=True)
class GpuUse:
    """How busy a GPU was, by Slurm's index on its nodes, in percent; `memory_bytes` is the most in use on it."""

    index: int
    mean_percent: float
    max_percent: float
    memory_bytes: float | None


@dataclass(frozen=True)
class Efficiency:
    """How well a run uses, or used, what its newest attempt held. What nobody knows is None.

    `busy_cpus` in the mean of the time; memory is of a node, the most that was seen. `sources` tell of `cpu` and
    `memory` whether `accounting` or the `agent` said it. `tasks` is what it asked for (--ntasks). `sampled_percent`: of
    this part of the time the agent has samples. `lines` are options that would have been enough; `notes` are warnings,
    in sentences.
    """

    elapsed_s: float
    time_limit_s: int | None
    cpus: int
    busy_cpus: float | None
    requested_memory_bytes: float | None
    memory_bytes: float | None
    gpus_held: int
    gpus: Sequence[GpuUse]
    tasks: int | None
    sampled_percent: float | None
    sources: Mapping[str, str]
    lines: Sequence[str] = field(default_factory=tuple)
    notes: Sequence[str] = field(default_factory=tuple)

    @property
    def cpu_percent(self) -> float | None:
        """Processor time, of all that its cores had."""
        return _percent(self.busy_cpus, self.cpus)

    @property
    def memory_percent(self) -> float | None:
        """Memory, of what it asked for."""
        return _percent(self.memory_bytes, self.requested_memory_bytes)

    @property
    def gpu_percent(self) -> float | None:
        """How busy its GPUs were, those without samples left out."""
        return sum(one.mean_percent for one in self.gpus) / len(self.gpus) if self.gpus else None

    @property
    def time_percent(self) -> float | None:
        """Time, of its limit."""
        return _percent(self.elapsed_s, self.time_limit_s)


def efficiency(session: Session, run: Run, now: datetime) -> Efficiency | None:
    """How well a run that started in Slurm uses what it holds; None where nobody told what that is.

    Its params, summary, attempts and usage are loaded.
    """
    held = run.usage
    if held is None or held.started_at is None or run.het_job_id is not None or run.state == "PENDING":
        return None
    ended_at = run.ended_at or now
    paused_s = run.attempts[-1].suspended_s if run.attempts else None
    elapsed_s = (ended_at - held.started_at).total_seconds() - (paused_s or 0)  # as Slurm counts it
    if elapsed_s <= 0:
        return None
    summary = {one.metric: one for one in run.summary}
    covered = None
    if run.ended_at is not None and _CPU in summary and run.points_kept == "all":
        covered = progress.coverage(session, run.id, _CPU, held.started_at, run.ended_at, held.nodes)
    found = _measured(run, summary, elapsed_s, None if covered is None else covered.mean)
    if run.state != "COMPLETED" or elapsed_s < LEAST_S or len(run.attempts) > 1:
        return found
    return _advised(found, run, summary, is_seen=covered is not None and covered.least >= ENOUGH)


def _measured(run: Run, summary: Mapping[str, Summary], elapsed_s: float, covered: float | None) -> Efficiency:
    held = run.usage
    assert held is not None
    nodes, sources = max(held.nodes, 1), {}
    busy: float | None = None
    if held.cpu_s is not None and held.cpu_s > 0:
        busy, sources["cpu"] = held.cpu_s / elapsed_s, "accounting"
    elif (percent := _mean(summary.get(_CPU))) is not None:
        busy, sources["cpu"] = percent * nodes / 100, "agent"
    memory = _most(summary.get(_MEMORY))
    if memory is not None:
        sources["memory"] = "agent"
    if held.used_memory_bytes and nodes == 1 and held.used_memory_bytes > (memory or 0):
        memory, sources["memory"] = float(held.used_memory_bytes), "accounting"
    return Efficiency(
        elapsed_s=elapsed_s, time_limit_s=run.time_limit_s, cpus=held.cpus, busy_cpus=busy,
        requested_memory_bytes=held.memory_bytes / nodes or None, memory_bytes=memory, gpus_held=_gpus_held(run),
        gpus=_gpus(run, summary), tasks=held.tasks, sampled_percent=None if covered is None else covered * 100,
        sources=sources,
    )  # fmt: skip


def _advised(found: Efficiency, run: Run, summary: Mapping[str, Summary], *, is_seen: bool) -> Efficiency:
    """The same with lines and notes, as far as the evidence goes; `is_seen`: samples of all its nodes are enough."""
    held = run.usage
    assert held is not None
    enough = _enough_memory(found) if is_seen or (held.used_memory_bytes and held.nodes == 1) else None
    fewer = [_cpu_line(found, summary), _gpu_line(found)] if is_seen and held.nodes == 1 and enough else []
    saves = enough and found.requested_memory_bytes and _saves_memory(enough, found.requested_memory_bytes)
    memory = _memory_line(enough) if enough and (saves or any(fewer)) else None
    lines = [line for line in (memory, *fewer, _time_line(found)) if line]
    notes = [*(_notes(found) if is_seen else []), *_cautions(lines, found.tasks, run.array_job_id is not None)]
    return replace(found, lines=lines, notes=notes)


def _enough_memory(found: Efficiency) -> int | None:
    """Bytes on a node that would have been enough; more than it asked for is no advice of ours."""
    used, asked = found.memory_bytes, found.requested_memory_bytes
    return min(as_size(used * MEMORY_ROOM), math.ceil(max(used, asked))) if used and asked else None


def _saves_memory(wanted: int, asked: float) -> bool:
    return wanted <= asked * _MOST_OF_ASKED and asked - wanted >= _LEAST_SAVED_BYTES


def _memory_line(wanted: int) -> str:
    whole = wanted // _GIB if wanted % _GIB == 0 else None
    return f"#SBATCH --mem={f'{whole}G' if whole else f'{math.ceil(wanted / _MIB)}M'}"


def as_size(count: float) -> int:
    """Bytes rounded up to a size that people would write."""
    unit = next(unit for most, unit in _SIZES if count <= most)
    return math.ceil(count / unit) * unit


def _cpu_line(found: Efficiency, summary: Mapping[str, Summary]) -> str | None:
    peak, busy = _most(summary.get(_CPU)), found.busy_cpus
    if peak is None or busy is None:
        return None
    tasks = found.tasks or 1
    of_each = math.ceil(max(1, math.ceil(busy * CPU_ROOM), math.ceil(peak / 100 - 0.05)) / tasks)
    if of_each * tasks > found.cpus * _MOST_OF_ASKED or found.cpus - of_each * tasks < _LEAST_SAVED_CPUS:
        return None
    return f"#SBATCH --cpus-per-task={of_each}"


def _gpu_line(found: Efficiency) -> str | None:
    idle = _idle(found)
    if not idle or len(found.gpus) != found.gpus_held or len(idle) == found.gpus_held:
        return None
    return f"#SBATCH --gres=gpu:{found.gpus_held - len(idle)}"


def _time_line(found: Efficiency) -> str | None:
    if not found.time_limit_s:
        return None
    wanted_s = found.elapsed_s * TIME_ROOM
    saved_s = found.time_limit_s - wanted_s
    if wanted_s > found.time_limit_s * _MOST_OF_ASKED or saved_s < _LEAST_SAVED_S:
        return None
    return f"#SBATCH --time={as_time_option(wanted_s)}"


def _notes(found: Efficiency) -> list[str]:
    notes = []
    idle = _idle(found)
    if idle and len(idle) == len(found.gpus) == found.gpus_held:
        notes.append("Its GPUs did nothing all the time: does it need any?")
    elif idle:
        names = ", ".join(map(str, idle))
        notes.append(f"GPU {names} of the {found.gpus_held} that it held did nothing all the time.")
    elif found.gpu_percent is not None and found.gpu_percent < _BUSY_PERCENT:
        notes.append(
            f"Its GPUs computed {found.gpu_percent:.0f} % of the time: do they wait for data? "
            "Try more workers that load it, or larger batches."
        )
    if found.memory_percent is not None and found.memory_percent > 90 and found.memory_bytes is not None:
        of = f"{byte_size(found.memory_bytes)} of {byte_size(found.requested_memory_bytes or 0)}"
        notes.append(f"It came close to its memory limit: {of}.")
    if found.time_percent is not None and found.time_percent > 90:
        notes.append(f"It came close to its time limit of {duration(found.time_limit_s)}.")
    return notes


def _cautions(lines: Sequence[str], tasks: int | None, is_of_array: bool) -> list[str]:
    """What to mind before these lines are taken over."""
    told = " ".join(lines)
    cautions = []
    if "--mem" in told:
        cautions.append("--mem takes the place of --mem-per-cpu and --mem-per-gpu: sbatch takes one of them.")
    if "--cpus-per-task" in told and tasks is None:
        cautions.append("--cpus-per-task is meant for one task: divide it among more (--ntasks).")
    if "--gres" in told:
        cautions.append("--gres takes the place of --gpus and the like; keep the GPUs' type if it names one.")
    if lines and is_of_array:
        cautions.append("Other tasks of its array may need more.")
    return cautions


def _idle(found: Efficiency) -> list[int]:
    return [one.index for one in found.gpus if one.max_percent < _IDLE_PERCENT]


def _gpus_held(run: Run) -> int:
    return len(run.attempts[-1].gpus) if run.attempts and run.attempts[-1].gpus else run.gpus_requested


def _gpus(run: Run, summary: Mapping[str, Summary]) -> list[GpuUse]:
    found = []
    for metric, one in summary.items():
        named = _GPU.match(metric)
        mean, most = _mean(one), _most(one)
        if named and mean is not None and most is not None:
            memory = _most(summary.get(f"system/gpu.{named[1]}.memory_bytes"))
            found.append(GpuUse(int(named[1]), min(mean, 100.0), min(most, 100.0), memory))
    return sorted(found, key=lambda one: one.index)[:_MOST_GPUS]


def _mean(summary: Summary | None) -> float | None:
    """The mean, if it is a number that may be one of a machine: a script may log under these names what it likes."""
    if summary is None or not summary.finite_count:
        return None
    return _sane(summary.total / summary.finite_count)


def _most(summary: Summary | None) -> float | None:
    return None if summary is None or summary.max is None else _sane(summary.max)


def _sane(value: float) -> float | None:
    return value if math.isfinite(value) and 0 <= value < 2**60 else None


def _percent(part: float | None, whole: float | None) -> float | None:
    return None if part is None or not whole else min(100 * part / whole, 9999.0)
