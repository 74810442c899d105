"""Understand the lines of a spool file (docs/spool.md). Users write them, so nothing in them is trusted."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import groupby, islice
from typing import Any, NamedTuple

import orjson

from tracker.actions.forgive import forgiven
from tracker.actions.read_capture import attempt_of, read_capture
from tracker.actions.read_points import PointLines, is_plain
from tracker.actions.read_values import MAX_NAME_CHARS, as_text, flattened, said_at, text, whole

MOST_KEYS = 2000  # params or tags of one line
MOST_GPUS = 64  # of one line
MAX_RANK = 2**31
MAX_RESTARTS = 1_000_000


class Thing(NamedTuple):
    """A line about an artifact or a medium, as it is: `read_things` understands it.

    It begins at `offset_bytes` of what is read, and was logged after the points of `step`. `is_counted`: that step is
    from where the file stood, as no line before it told one (see `PointLines`).
    """

    message: dict[str, Any]
    offset_bytes: int
    step: int
    is_counted: bool


@dataclass(frozen=True)
class NamedGpu:
    """What a GPU is, by Slurm's index on the writer's node; said at a moment in seconds since 1970, None: now.

    `mig` is the UUID of the part that Slurm hands out under this index, of a GPU that is split.
    """

    index: int
    uuid: str
    type: str | None
    said_s: float | None
    mig: str | None = None


@dataclass
class Lines:
    """What some lines say, whatever stood before them in the file. A `time` that is None was not told.

    `header` is only what stands before the first points.
    """

    points: PointLines = field(default_factory=PointLines)
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


def read_lines(raw: bytes) -> Lines:
    """Read whole lines; those not in our format are counted as rejected."""
    said = Lines()
    offset_bytes = 0
    for plain, group in groupby(((line, _message(line)) for line in raw.split(b"\n")), lambda one: is_plain(one[1])):
        lines, messages = zip(*group, strict=True)
        if plain:
            said.rejected += said.points.take_all(messages)
            offset_bytes += sum(map(len, lines)) + len(lines)
            continue
        for line, message in zip(lines, messages, strict=True):
            if line and not _taken(said, message, offset_bytes):
                said.rejected += 1
            offset_bytes += len(line) + 1
    return said


def _message(line: bytes) -> Any:
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        return forgiven(line) if line else None


def _taken(said: Lines, message: Any, offset_bytes: int) -> bool:
    if not isinstance(message, dict):
        return False
    if message.get("event") in ("artifact", "media"):
        points = said.points
        step = points.counted if points.next_step is None else points.next_step
        said.things.append(Thing(message, offset_bytes, step - 1, points.next_step is None))
        return True
    kind = message.get("event", "points" if "metrics" in message else None)
    take = _KINDS.get(kind) if isinstance(kind, str) else None
    return take is not None and take(said, message)


def _points(said: Lines, message: dict[str, Any]) -> bool:
    return said.points.take(message)


def _writer(said: Lines, message: dict[str, Any]) -> bool:
    if said.points.lines:
        return True  # whose the points are is settled
    said.header = {
        "node": text(message.get("node"), MAX_NAME_CHARS),
        "rank": _count(message.get("rank"), MAX_RANK) or 0,
        "restarts": _count(message.get("restart_count"), MAX_RESTARTS),
        "kind": text(message.get("kind")),
        "time": said_at(message),
        "argv": text(" ".join(str(one) for one in argv) if isinstance(argv := message.get("argv"), list) else None),
        "cwd": text(message.get("cwd")),
    }
    return True


def _run(said: Lines, message: dict[str, Any]) -> bool:
    said.experiment = text(message.get("experiment"), MAX_NAME_CHARS) or said.experiment
    said.name = text(message.get("name"), MAX_NAME_CHARS) or said.name
    return True


def _params(said: Lines, message: dict[str, Any]) -> bool:
    return _texts(said.params, message.get("params"))


def _tags(said: Lines, message: dict[str, Any]) -> bool:
    return _texts(said.tags, message.get("tags"))


def _texts(known: dict[str, str], told: Any) -> bool:
    if isinstance(told, dict):
        known.update((key, as_text(value)) for key, value in islice(flattened(told), MOST_KEYS))
    return isinstance(told, dict)


def _note(said: Lines, message: dict[str, Any]) -> bool:
    key, reason = text(message.get("key"), MAX_NAME_CHARS), text(message.get("reason"), MAX_NAME_CHARS)
    if key and (key in said.notes or len(said.notes) < MOST_KEYS):
        said.notes[key] = reason or "no reason given"
    return bool(key)


def _capture(said: Lines, message: dict[str, Any]) -> bool:
    content = read_capture(message)
    said.capture = {"time": said_at(message), "attempt": attempt_of(message), "content": content}
    return True


def _finish(said: Lines, message: dict[str, Any]) -> bool:
    said.finish = {
        "time": said_at(message),
        "exit_code": whole(message.get("exit_code")),
        "reason": text(message.get("reason"), MAX_NAME_CHARS),
    }
    return True


def _gpus(said: Lines, message: dict[str, Any]) -> bool:
    told = message.get("gpus")
    for one in told[:MOST_GPUS] if isinstance(told, list) else []:
        index, uuid = (one.get("index"), text(one.get("uuid"), 255)) if isinstance(one, dict) else (None, None)
        if type(index) is int and 0 <= index < 10_000 and uuid:
            name, mig = text(one.get("name"), 255), text(one.get("mig"), 255)
            said.gpus.append(NamedGpu(index, uuid, name, said_at(message), mig))
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
