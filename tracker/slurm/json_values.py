"""Small values in slurmrestd's answers, whose shapes differ by version (`set`, `infinite`, `number` since 23.02)."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

from tracker.slurm.records import Resources
from tracker.slurm.states import base_state
from tracker.slurm.values import given, wait_status

_NO_LIMIT = 4_000_000_000  # Slurm's INFINITE and NO_VAL lie above


def number(value: Any) -> int | None:
    """A whole number; None when it is not set or has no end."""
    if isinstance(value, dict):
        value = value.get("number") if value.get("set") and not value.get("infinite") else None
    return int(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def positive(value: Any) -> int | None:
    """A whole number above nothing, or None: several fields say 0 for none."""
    return number(value) or None


def limit_s(value: Any) -> int | None:
    """Seconds of a limit in minutes."""
    minutes = positive(value)
    return None if minutes is None or minutes >= _NO_LIMIT else minutes * 60


def moment(value: Any) -> datetime | None:
    """A time in seconds since 1970; 0 is none."""
    seconds = positive(value)
    return datetime.fromtimestamp(seconds, tz=timezone.utc) if seconds else None


def words(value: Any) -> list[str]:
    """Slurm's word, or words: a state and its flags."""
    return [str(one) for one in value] if isinstance(value, list) else [value] if isinstance(value, str) else []


def state(value: Any) -> str | None:
    """The base state; None while it is hidden, as the one word of squeue hides it."""
    said = words(value)
    if "COMPLETING" in said:
        return None
    return next((found for found in map(base_state, said) if found), None)


def name(value: Any) -> str | None:
    """A word of Slurm's, or None for one of its ways to say that there is none."""
    return given(value) if isinstance(value, str) else None


def exit_of(value: Any) -> tuple[int | None, int | None]:
    """Exit code and signal: a wait status, or an object that has both.

    22.05 says `SUCCESS` and 0 of every job of accounting that no signal ended: what it says then is nothing.
    """
    if not isinstance(value, dict) or "number" in value:
        return wait_status(number(value))
    signal = value.get("signal") or {}
    if isinstance(value.get("status"), str) and not signal:
        return None, None
    told = number(signal.get("id", signal.get("signal_id"))) if isinstance(signal, dict) else number(signal)
    return number(value.get("return_code")) or 0, told or 0


def resources(found: Any) -> Resources:
    """A list of trackable resources, memory in MiB."""
    counts: dict[str, int] = {}
    for one in found if isinstance(found, list) else ():
        kind = "/".join(str(part) for part in (one.get("type"), one.get("name")) if part)
        counts[kind] = number(one.get("count")) or 0
    return Resources(
        cpus=counts.get("cpu", 0),
        memory_bytes=counts.get("mem", 0) << 20,
        nodes=counts.get("node", 0),
        gpus=counts.get("gres/gpu", 0),
        shards=counts.get("gres/shard", 0) + counts.get("gres/mps", 0),
    )
