"""Small values in Slurm's answers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timezone

_NOTHING = frozenset(("", "N/A", "n/a", "(null)", "None", "Unknown", "NONE", "UNLIMITED", "INVALID", "None assigned"))
_LIMIT = re.compile(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)\Z")
_GPUS = re.compile(r"(?:^|,)gres/gpu=(\d+)")
_NUMBERS = "AajJnst"
_PATTERN = re.compile(r"%(?:(\d{1,2}))?([%AajJNnstuxb])")


def given(value: str) -> str | None:
    """The value, or None for one of Slurm's ways to say that there is none."""
    return None if value in _NOTHING else value


def whole(value: str) -> int | None:
    """A whole number, or None."""
    return int(value) if re.fullmatch(r"\d{1,18}", value) else None


def moment(value: str) -> datetime | None:
    """A time, which SLURM_TIME_FORMAT=%s makes Slurm print in seconds since 1970."""
    seconds = whole(value)
    return datetime.fromtimestamp(seconds, tz=timezone.utc) if seconds else None


def limit_s(value: str) -> int | None:
    """Seconds of a time limit `days-hours:minutes:seconds`; None for UNLIMITED."""
    found = _LIMIT.match(value)
    if not found:
        return None
    days, hours, minutes, seconds = (int(one or 0) for one in found.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


def gpu_count(tres: str) -> int:
    """GPUs in a list of trackable resources such as `cpu=1,gres/gpu=2,gres/gpu:a100=2`."""
    found = _GPUS.search(tres)
    return int(found[1]) if found else 0


def output_path(pattern: str, facts: Mapping[str, str], work_dir: str | None) -> str | None:
    """The file behind an output pattern such as `%x-%j.out` (man sbatch, "filename pattern").

    `facts` maps the letters to their values. None for a pattern with letters we do not know.
    """
    if pattern.startswith("\\\\"):
        return pattern[2:]
    unknown = False

    def value(found: re.Match[str]) -> str:
        nonlocal unknown
        width, letter = found.groups()
        plain = "%" if letter == "%" else facts.get(letter)
        unknown = unknown or plain is None
        # A width is for numbers only, and 10 at most.
        return (plain or "").zfill(min(int(width or 0), 10)) if letter in _NUMBERS else plain or ""

    path = _PATTERN.sub(value, pattern)
    if unknown or not path:
        return None
    return path if path.startswith("/") else f"{work_dir or ''}/{path}"
