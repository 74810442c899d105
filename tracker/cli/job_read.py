"""A job read for people, in a terminal: how it waits, what is to be expected of it, how well it used what it held."""

from __future__ import annotations

from typing import Any

from tracker.client.reading import Run
from tracker.quantities import byte_size, duration

_CELLS = 20


def in_the_queue(run: Run) -> str:
    """A line of the queue: why it waits and until when, or what is to be expected of it."""
    parts = [str(run.facts.get("explanation") or "")]
    if start_at := run.facts.get("start_estimate_at"):
        parts.append(f"Slurm expects its start at {_minute(str(start_at))} UTC.")
    forecast = run.facts.get("forecast") or {}
    parts.append(str(forecast.get("sentence") or ""))
    return " ".join(filter(None, parts))


def _minute(at: str) -> str:
    return at[:16].replace("T", " ")


def job_read(run: Run) -> dict[str, Any]:
    """What `show` prints of it beside the run's facts, by words; older servers do not tell."""
    told = _waiting(run.facts.get("waiting") or {})
    told |= _forecast(run.facts.get("forecast") or {})
    return told | _efficiency(run.facts.get("efficiency") or {})


def _waiting(said: dict[str, Any]) -> dict[str, Any]:
    if not said:
        return {}
    place, estimates = said["place"], said["estimates"]
    now = [f" (now: {one['state']})" if one["state"] else "" for one in said["awaited"]]
    awaited = [f"{one['job']} {one['until']}{state}" for one, state in zip(said["awaited"], now, strict=True)]
    return {
        "place": f"{place['place']} of {place['of']} in {said['partition']}, {place['theirs']} of them of the same user"
        if place
        else None,
        "start expected": _on(said["start_estimate_at"], said["planned_nodes"]),
        "such words": _trust(estimates) if estimates else None,
        "limit": said["limit"],
        "not before": said["begins_at"],
        "waits until": "; ".join(awaited),
        "reservation": said["reservation"],
        "licences": said["licenses"],
    }


def _trust(estimates: dict[str, Any]) -> str:
    off = duration(estimates["first_off_s"])
    return f"of {estimates['jobs']} jobs that started here lately half did within {off} of the first one"


def _on(at: str | None, nodes: str | None) -> str | None:
    return f"{at} on {nodes}" if at and nodes else at


def _forecast(said: dict[str, Any]) -> dict[str, Any]:
    if not said:
        return {}
    rate = f"{said['steps_per_s']:.4g} ± {said['spread']:.2g} steps/s"
    return {
        "forecast": said["sentence"],
        "steps": f"{said['step']} of {said['max_steps']}, {rate} lately",
        "done at": said["ends_at"],
    }


def _efficiency(said: dict[str, Any]) -> dict[str, Any]:
    if not said or not (said["sources"] or said["gpus"]):
        return {}
    told: dict[str, Any] = {}
    if said["cpu_percent"] is not None:
        told["cpu"] = f"{_bar(said['cpu_percent'])} {said['busy_cpus']:.3g} of {said['cpus']} cores busy in the mean"
    if said["memory_percent"] is not None:
        used, asked = byte_size(said["memory_bytes"]), byte_size(said["requested_memory_bytes"])
        told["memory"] = f"{_bar(said['memory_percent'])} {used} of {asked} at the most, on a node"
    for gpu in said["gpus"]:
        told[f"gpu {gpu['index']}"] = f"{_bar(gpu['mean_percent'])} {gpu['max_percent']:.0f} % at the most"
    if said["time_percent"] is not None:
        told["of its limit"] = f"{_bar(said['time_percent'])} of {duration(said['time_limit_s'])}"
    if said["sampled_percent"] is not None:
        told["seen"] = f"{said['sampled_percent']:.0f} % of its time, by the agent"
    told["note"] = " ".join(said["notes"])
    told["enough next time"] = "\n".join(said["lines"])
    return told


def _bar(percent: float) -> str:
    """A bar, and its figure."""
    full = round(min(max(percent, 0.0), 100.0) / 100 * _CELLS)
    return f"{'█' * full}{'░' * (_CELLS - full)} {percent:3.0f} %"
