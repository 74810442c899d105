"""Correct what a node's clock says that is behind or ahead, as its agent's requests show."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from tracker.actions.read_lines import Lines
from tracker.actions.read_values import MAX_TIME_S, utc
from tracker.store.writers import HeldWriter

STEADY_WITHIN_US = 1_000_000


def corrected(at: datetime, skew: timedelta) -> datetime:
    """The moment on the server's clock; a clock that is off by years may bring nobody out of the calendar."""
    seconds = min(max(at.timestamp() + skew.total_seconds(), 0), MAX_TIME_S)
    return utc(seconds)


def settle(writer: HeldWriter, skew: timedelta) -> bool:
    """Say how a writer's times are corrected; True when that changed. A second more or less keeps it as it is.

    So order and spacing of its points stay.
    """
    if is_settled(writer, skew):
        return False
    writer.clock_skew_us = skew // timedelta(microseconds=1)
    return True


def is_settled(writer: HeldWriter, skew: timedelta) -> bool:
    """Whether its times are corrected so already."""
    return abs(writer.clock_skew_us - skew // timedelta(microseconds=1)) <= STEADY_WITHIN_US


def correct(said: Lines, skew_us: int, now_s: float) -> None:
    """Bring the times of lines, but for points, from the node's clock to the server's; now where none was told."""
    told: tuple[dict[str, Any] | None, ...] = (said.header, said.capture, said.finish)
    for one in told:
        if one:
            one["time"] = _corrected_s(one["time"], skew_us, now_s)
    said.gpus = [replace(gpu, said_s=_corrected_s(gpu.said_s, skew_us, now_s)) for gpu in said.gpus]


def note(node: str, skew: timedelta) -> dict[str, str]:
    """What a run's page says about it."""
    return {f"clock of {node}": f"{behind_or_ahead(skew)}; the times it told were corrected"}


def behind_or_ahead(skew: timedelta) -> str:
    """How far a clock is off, in words."""
    return f"{abs(skew).total_seconds():.0f} s {'behind' if skew > timedelta(0) else 'ahead'}"


def _corrected_s(time_s: float | None, skew_us: int, now_s: float) -> float:
    if time_s is None:
        return now_s
    return min(max(time_s + skew_us / 1_000_000, 0), MAX_TIME_S) if skew_us else time_s
