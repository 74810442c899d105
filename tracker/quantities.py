"""Quantities as people say them."""

from __future__ import annotations

from datetime import timedelta


def duration(seconds: float | timedelta | None) -> str:
    """A length of time by its two greatest units, such as `2h 05m`; empty for None."""
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


def byte_size(count: float) -> str:
    """A number of bytes with three digits, such as `1.5 GiB`."""
    size = float(count)
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if abs(size) < 1023.5 or unit == "TiB":
            break
        size /= 1024
    return f"{size:.3g} {unit}" if abs(size) < 999.5 else f"{size:.0f} {unit}"
