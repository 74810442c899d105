"""Understand lines that tell of artifacts and media (docs/spool.md). Nothing in them is trusted."""

from __future__ import annotations

import base64
import binascii
import math
import re
from typing import Any

import orjson

from tracker.actions.read_values import MAX_NAME_CHARS, clean, moment, number, text, utc, whole
from tracker.store.media import image_type

MAX_PATH_CHARS = 4096
MOST_FILES = 200
MAX_FILE_CHARS = 1000
MOST_BINS = 512
MOST_COLUMNS = 500
MOST_CELL_CHARS = 2000
NOT_FINITE = ("NaN", "Infinity", "-Infinity")
JSON = "application/json"
_DIGEST = re.compile(r"[0-9a-f]{64}\Z")


class BadLine(Exception):
    """A line tells of nothing that can be kept; the text tells why."""


def read_artifact(message: dict[str, Any], now_s: float) -> dict[str, Any]:
    """What a line says of an artifact, by the columns of its table. Raises BadLine."""
    name, path = text(message.get("name"), MAX_NAME_CHARS), text(message.get("path"), MAX_PATH_CHARS)
    if not name or not path:
        raise BadLine("an artifact needs `name` and `path`")
    mtime = message.get("mtime")
    return {
        "id": text(message.get("id"), 64) or name[:64],
        "name": name,
        "path": path,
        "size_bytes": _count(message.get("size_bytes")) or 0,
        "modified_at": None if mtime is None else utc(moment({"time": mtime}, now_s)),
        "logged_at": utc(moment(message, now_s)),
        "step": whole(message.get("step")),
        "sha256": _digest(message.get("sha256")),
        "copied_to": text(message.get("copied_to"), 1000),
        "problem": text(message.get("problem"), MAX_NAME_CHARS),
        "file_count": _count(message.get("file_count")),
        "files": _files(message.get("files")),
    }


def _count(value: Any) -> int | None:
    said = whole(value)
    return None if said is None else max(said, 0)


def _digest(value: Any) -> str | None:
    return value if isinstance(value, str) and _DIGEST.match(value) else None


def _files(given: Any) -> list[dict[str, Any]]:
    listed = [one for one in given if isinstance(one, dict)] if isinstance(given, list) else []
    return [
        {"path": path, "size_bytes": _count(one.get("size_bytes")) or 0, "sha256": _digest(one.get("sha256"))}
        for one in listed[:MOST_FILES]
        if (path := text(one.get("path"), MAX_FILE_CHARS))
    ]


def read_medium(message: dict[str, Any], now_s: float, last_step: int) -> dict[str, Any]:
    """What a line says of an image, histogram or table, by the columns of its table but its place. Raises BadLine."""
    kind, name = message.get("kind"), text(message.get("name"), MAX_NAME_CHARS)
    read = _KINDS.get(kind) if isinstance(kind, str) else None
    if read is None or not name:
        raise BadLine(f"media need a `name` and a `kind`: {', '.join(_KINDS)}")
    content_type, content = read(message)
    step = whole(message.get("step"))
    return {
        "kind": kind,
        "name": name,
        "step": last_step if step is None else step,
        "logged_at": utc(moment(message, now_s)),
        "content_type": content_type,
        "content": content,
    }


def _image(message: dict[str, Any]) -> tuple[str, bytes]:
    data = message.get("data")
    try:
        raw = base64.b64decode(data, validate=True) if isinstance(data, str) else b""
    except (binascii.Error, ValueError):
        raw = b""
    content_type = image_type(raw)
    if content_type is None:
        raise BadLine("its bytes begin like no PNG, JPEG, WebP or GIF")
    return content_type, raw


def _histogram(message: dict[str, Any]) -> tuple[str, bytes]:
    low, high, counts = number(message.get("low")), number(message.get("high")), message.get("counts")
    if low is None or high is None or not -math.inf < low <= high < math.inf or not isinstance(counts, list):
        raise BadLine("a histogram needs `low`, `high` and `counts`")
    figures = [whole(one) for one in counts[: MOST_BINS + 1]]
    if len(counts) > MOST_BINS or any(one is None or one < 0 for one in figures):
        raise BadLine(f"the counts of a histogram are at most {MOST_BINS} whole numbers from 0 on")
    given = message.get("not_finite")
    beside = given if isinstance(given, dict) else {}
    not_finite = {word: count for word in NOT_FINITE if (count := _count(beside.get(word)))}
    return JSON, orjson.dumps({"low": float(low), "high": float(high), "counts": figures, "not_finite": not_finite})


def _table(message: dict[str, Any]) -> tuple[str, bytes]:
    columns, rows = message.get("columns"), message.get("rows")
    if not isinstance(columns, list) or not isinstance(rows, list) or not columns:
        raise BadLine("a table needs `columns` and `rows`")
    names = [clean(str(one))[:MAX_NAME_CHARS] for one in columns[:MOST_COLUMNS]]
    kept = [[_cell(cell) for cell in row[: len(names)]] for row in rows if isinstance(row, list)]
    row_count = max(_count(message.get("row_count")) or 0, len(kept))
    return JSON, orjson.dumps({"columns": names, "rows": kept, "row_count": row_count})


def _cell(value: Any) -> Any:
    if isinstance(value, str):
        return clean(value)[:MOST_CELL_CHARS]
    if value is None or isinstance(value, (bool, float)) or whole(value) is not None:
        return value
    return clean(orjson.dumps(value).decode())[:MOST_CELL_CHARS]


_KINDS = {"image": _image, "histogram": _histogram, "table": _table}
