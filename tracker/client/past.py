"""What is known of a run beyond this process: its earlier attempts' last step, and what the server told.

Everything is read in bounded pieces, for other processes wrote it.
"""

from __future__ import annotations

import json
import os
import time

from tracker.client.files import read_piece
from tracker.client.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any, Iterable, Iterator

_HEAD_BYTES = 32 * 1024
_TAIL_BYTES = 64 * 1024
_MOST_ENTRIES = 5000
_MOST_FILES = 64
_MOST_TOLD = 2**63
_TOLD_WITHIN_S = 2.0


def told(folder: str) -> dict[str, Any]:
    """Return `told.json` of docs/spool.md; empty where there is none, or none that can be read."""
    try:
        said = json.loads(read_piece(f"{folder}/told.json", _TAIL_BYTES, follow=False))
    except (OSError, ValueError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}


def told_step(folder: str, attempt: int) -> int | None:
    """Return the step before this attempt as the agent was told; it is given 2 s to be told. None if it is not."""
    until_s = time.monotonic() + _TOLD_WITHIN_S
    while not _is_of(told(folder), attempt) and time.monotonic() < until_s:
        time.sleep(0.05)
    step = told_number(folder, attempt, "last_step")
    return None if step is None else int(step)


def told_number(folder: str, attempt: int, key: str) -> int | float | None:
    """Return a number that the agent was told for this attempt; None if it is not known, or an earlier attempt's."""
    said = told(folder)
    value = said.get(key)
    is_number = isinstance(value, (int, float)) and type(value) is not bool and -_MOST_TOLD < value < _MOST_TOLD
    return value if is_number and _is_of(said, attempt) else None


def _is_of(said: dict[str, Any], attempt: int) -> bool:
    of_attempt = said.get("attempt", attempt)
    return bool(said) and isinstance(of_attempt, int) and of_attempt >= attempt


def last_step(folder: str, attempt: int, rank: int) -> int | None:
    """Return the step that this rank logged last before this attempt, as far as its files lie here; else None."""
    for path in _newest(folder):
        try:
            header = next(objects(read_piece(path, _HEAD_BYTES, follow=False).splitlines()), {})
            count = header.get("restart_count")
            if header.get("rank", 0) != rank or type(count) is not int or count + 1 >= attempt:
                continue
            lines = objects(read_piece(path, _TAIL_BYTES, -_TAIL_BYTES, follow=False).splitlines())
            steps = [line["step"] for line in lines if "metrics" in line and type(line.get("step")) is int]
        except OSError:
            continue
        if steps:
            return int(steps[-1])
    return None


def _newest(folder: str) -> list[str]:
    """Return the writers' files, the one written last first."""
    found = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.endswith(".jsonl") and not entry.name.startswith("run_"):
                    found.append((entry.stat(follow_symlinks=False).st_mtime_ns, entry.path))
                if len(found) >= _MOST_ENTRIES:
                    break
    except OSError:
        pass
    return [path for _, path in sorted(found, reverse=True)[:_MOST_FILES]]


def objects(lines: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    """Yield the JSON objects among these lines; the first and the last may be cut."""
    for line in lines:
        try:
            message = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(message, dict):
            yield message
