"""Understand the lines of a spool file (docs/spool.md). Users write them, so nothing in them is trusted."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import islice
from typing import Any, NamedTuple

import orjson

from tracker.actions.read_capture import attempt_of, read_capture
from tracker.actions.read_values import MAX_NAME_CHARS, as_text, flattened, moment, number, text, whole

MOST_KEYS = 2000  # params or tags of one line
MOST_GPUS = 64  # of one line
MAX_RANK = 2**31
MAX_STEP = 2**63 - 1
MAX_RESTARTS = 1_000_000


@dataclass
class Column:
    """Points of one metric, in the order written."""

    steps: list[int] = field(default_factory=list)
    times_us: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)


class Thing(NamedTuple):
    """A line about an artifact or a medium, as it is: `read_things` understands it.

    It begins at `offset_bytes` of what is read, and was logged after the points of `step`.
    """

    message: dict[str, Any]
    offset_bytes: int
    step: int


@dataclass(frozen=True)
class NamedGpu:
    """What a GPU is, by Slurm's index on the writer's node; said at a moment in seconds since 1970."""

    index: int
    uuid: str
    type: str | None
    said_s: float


@dataclass
class Lines:
    """What some lines say. `next_step` is the step of the next points that name none.

    `first_step` is the step of the file's first points, None before them. `header` is only what stands before them.
    """

    next_step: int
    first_step: int | None = None
    columns: dict[str, Column] = field(default_factory=dict)
    header: dict[str, Any] = field(default_factory=dict)
    experiment: str | None = None
    name: str | None = None
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    capture: dict[str, Any] | None = None  # `time`, `attempt` and `content`
    finish: dict[str, Any] | None = None
    things: list[Thing] = field(default_factory=list)
    gpus: list[NamedGpu] = field(default_factory=list)
    rejected: int = 0


def read_lines(raw: bytes, *, now_s: float, next_step: int = 0, first_step: int | None = None) -> Lines:
    """Read whole lines; those not in our format are counted as rejected. `now_s` is for points without time."""
    said = Lines(next_step, first_step)
    offset_bytes = 0
    for line in raw.split(b"\n"):
        if line and not _taken(said, line, offset_bytes, now_s):
            said.rejected += 1
        offset_bytes += len(line) + 1
    return said


def _taken(said: Lines, line: bytes, offset_bytes: int, now_s: float) -> bool:
    try:
        message = orjson.loads(line)
    except orjson.JSONDecodeError:
        return False
    if isinstance(message, dict) and message.get("event") in ("artifact", "media"):
        said.things.append(Thing(message, offset_bytes, max(said.next_step - 1, 0)))
        return True
    return isinstance(message, dict) and _take(said, message, now_s)


def _take(said: Lines, message: dict[str, Any], now_s: float) -> bool:
    kind = message.get("event", "points" if "metrics" in message else None)
    take = _KINDS.get(kind) if isinstance(kind, str) else None
    return take is not None and take(said, message, now_s)


def _points(said: Lines, message: dict[str, Any], now_s: float) -> bool:
    step = whole(message["step"]) if message.get("step") is not None else said.next_step
    metrics = message.get("metrics")
    if step is None or not isinstance(metrics, dict):
        return False
    if said.first_step is None:
        said.first_step = step
    time_us = round(moment(message, now_s) * 1_000_000)
    for metric, value in flattened(metrics):
        figure = number(value)
        if figure is None:
            said.notes[metric] = f"{type(value).__name__} is no number"
            continue
        column = said.columns.setdefault(metric, Column())
        column.steps.append(step)
        column.times_us.append(time_us)
        column.values.append(figure)
    said.next_step = min(step + 1, MAX_STEP)
    return True


def _writer(said: Lines, message: dict[str, Any], now_s: float) -> bool:
    if said.first_step is not None:
        return True  # whose the points are is settled
    said.header = {
        "node": text(message.get("node"), MAX_NAME_CHARS),
        "rank": _count(message.get("rank"), MAX_RANK) or 0,
        "restarts": _count(message.get("restart_count"), MAX_RESTARTS),
        "kind": text(message.get("kind")),
        "time": moment(message, now_s),
        "argv": text(" ".join(str(one) for one in argv) if isinstance(argv := message.get("argv"), list) else None),
        "cwd": text(message.get("cwd")),
    }
    return True


def _run(said: Lines, message: dict[str, Any], _now_s: float) -> bool:
    said.experiment = text(message.get("experiment"), MAX_NAME_CHARS) or said.experiment
    said.name = text(message.get("name"), MAX_NAME_CHARS) or said.name
    return True


def _params(said: Lines, message: dict[str, Any], _now_s: float) -> bool:
    return _texts(said.params, message.get("params"))


def _tags(said: Lines, message: dict[str, Any], _now_s: float) -> bool:
    return _texts(said.tags, message.get("tags"))


def _texts(known: dict[str, str], told: Any) -> bool:
    if isinstance(told, dict):
        known.update((key, as_text(value)) for key, value in islice(flattened(told), MOST_KEYS))
    return isinstance(told, dict)


def _note(said: Lines, message: dict[str, Any], _now_s: float) -> bool:
    key, reason = text(message.get("key"), MAX_NAME_CHARS), text(message.get("reason"), MAX_NAME_CHARS)
    if key:
        said.notes[key] = reason or "no reason given"
    return bool(key)


def _capture(said: Lines, message: dict[str, Any], now_s: float) -> bool:
    content = read_capture(message)
    said.capture = {"time": moment(message, now_s), "attempt": attempt_of(message), "content": content}
    return True


def _finish(said: Lines, message: dict[str, Any], now_s: float) -> bool:
    said.finish = {
        "time": moment(message, now_s),
        "exit_code": whole(message.get("exit_code")),
        "reason": text(message.get("reason"), MAX_NAME_CHARS),
    }
    return True


def _gpus(said: Lines, message: dict[str, Any], now_s: float) -> bool:
    told = message.get("gpus")
    for one in told[:MOST_GPUS] if isinstance(told, list) else []:
        index, uuid = (one.get("index"), text(one.get("uuid"), 255)) if isinstance(one, dict) else (None, None)
        if type(index) is int and 0 <= index < 10_000 and uuid:
            said.gpus.append(NamedGpu(index, uuid, text(one.get("name"), 255), moment(message, now_s)))
    return isinstance(told, list)


_KINDS = {
    "points": _points,
    "writer": _writer,
    "run": _run,
    "params": _params,
    "tags": _tags,
    "note": _note,
    "capture": _capture,
    "finish": _finish,
    "gpus": _gpus,
}


def _count(value: Any, most: int) -> int | None:
    figure = whole(value)
    return figure if figure is not None and 0 <= figure <= most else None
