"""Turns what scripts log into the JSON lines of docs/spool.md.

Whatever cannot be stored comes back as a reason, never as an error.
"""

from __future__ import annotations

from collections.abc import Mapping

from tracker.client.typed import TYPE_CHECKING

try:
    import orjson
except ImportError:
    from tracker.client.plain import line
    from tracker.client.plain import line_of_points as line_of_points

    OPTION = 0
else:
    # Points are encoded without a function of ours between: it costs microseconds where a training emptied the caches.
    line_of_points = orjson.dumps  # type: ignore[assignment]  # it takes more
    OPTION = orjson.OPT_APPEND_NEWLINE

    def line(message: dict[str, Any]) -> bytes:
        """Encode what `storable` made."""
        return orjson.dumps(message, None, OPTION)


if TYPE_CHECKING:
    from typing import Any, Iterator, Tuple, Union

    Number = Union[int, float, str]  # a string is "NaN", "Infinity" or "-Infinity"
    Refused = Tuple[str, str]  # the key of what cannot be stored, and why

MAX_LINE_BYTES = 1024 * 1024
MAX_NESTING = 8
_INT64_LEAST, _INT64_MOST = -(2**63), 2**63 - 1


class Unusable(Exception):
    """What was given cannot be logged; the text tells why and the way out."""


def points(metrics: Any, step: Any, time_s: float) -> tuple[list[bytes], list[Refused]]:
    """Encode any metrics: lines of at most MAX_LINE_BYTES, and what could not be taken."""
    refused: list[Refused] = []
    kept: dict[str, Number] = {}
    for key, value in _leaves(metrics, refused):
        number, reason = as_number(value)
        if number is None:
            refused.append((key, reason))
        else:
            kept[key] = number
    message: dict[str, Any] = {"time": time_s}
    if step is not None:
        whole, reason = as_step(step)
        if whole is None:
            refused.append(("step", reason))
        else:
            message["step"] = whole
    return list(_split(kept, message)), refused


def _split(kept: dict[str, Number], message: dict[str, Any]) -> Iterator[bytes]:
    if not kept:
        return
    whole = line_of({"metrics": kept, **message})
    if len(whole) <= MAX_LINE_BYTES:
        yield whole
    elif len(kept) > 1:
        names = list(kept)
        half = len(names) // 2
        # A step that is counted on would count twice for the two halves, but no script logs a megabyte a step.
        yield from _split({name: kept[name] for name in names[:half]}, message)
        yield from _split({name: kept[name] for name in names[half:]}, message)


def _leaves(tree: Any, refused: list[Refused], prefix: str = "", depth: int = 0) -> Iterator[tuple[str, Any]]:
    if not isinstance(tree, Mapping):
        refused.append((prefix or "metrics", f"{_type_name(tree)} is no dictionary of numbers"))
        return
    try:
        items = list(tree.items())
    except Exception as problem:  # the mapping's own code
        refused.append((prefix.rstrip("/") or "metrics", f"{_type_name(tree)} cannot be read: {_said(problem)}"))
        return
    for key, value in items:
        path = (prefix + clean(key))[:500]
        if not isinstance(value, Mapping):
            yield path, value
        elif depth < MAX_NESTING:
            yield from _leaves(value, refused, path + "/", depth + 1)
        else:
            refused.append((path, f"nested more than {MAX_NESTING} deep"))


def as_number(value: Any) -> tuple[Number | None, str]:
    """Return what JSON can hold of any kind of number (a numpy or torch scalar too), or None and the reason."""
    if isinstance(value, (str, bytes)) or value is None:
        return None, f"{_type_name(value)} is no number"
    try:
        plain = value if isinstance(value, (int, float)) else _unwrapped(value)
        number = float(plain) if isinstance(plain, float) else int(plain)
    except Exception as problem:  # the value's own code
        return None, f"{_type_name(value)} is no number: {_said(problem)}"
    return _stored(number), ""


def _stored(number: int | float) -> Number:
    if isinstance(number, float):
        return _finite_or_word(number)
    if _INT64_LEAST <= number <= _INT64_MOST:
        return number
    try:
        return float(number)
    except OverflowError:
        return "Infinity" if number > 0 else "-Infinity"


def _unwrapped(value: Any) -> int | float:
    item = getattr(value, "item", None)
    plain = item() if callable(item) else value
    return plain if isinstance(plain, (int, float)) else float(plain)


def _finite_or_word(value: float) -> Number:
    if value - value == 0:
        return value
    return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"


def as_step(value: Any) -> tuple[int | None, str]:
    """Return a step as a whole number of 64 bits, or None and the reason."""
    number, reason = as_number(value)
    if isinstance(number, float) and number.is_integer():
        number = int(number)
    if isinstance(number, int) and _INT64_LEAST <= number <= _INT64_MOST:
        return number, ""
    return None, reason or f"a step is a whole number, not {number}"


def line_of(message: Mapping[str, Any]) -> bytes:
    """Encode a message as one line of JSON. What JSON does not know becomes its nearest kind, at last its text."""
    return line(storable(message))


def storable(value: Any, depth: int = 0) -> Any:
    """Return what JSON can hold of any value."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return clean(value)
    if depth <= MAX_NESTING:
        if isinstance(value, Mapping):
            return {clean(key): storable(inner, depth + 1) for key, inner in value.items()}
        if isinstance(value, (list, tuple, set, frozenset)):
            return [storable(inner, depth + 1) for inner in value]
    number, _ = as_number(value)
    return clean(value) if number is None else number


def clean(value: Any) -> str:
    """Return the text of a value, without halves of characters, which UTF-8 cannot hold."""
    try:
        text = value if type(value) is str else str(value)
    except Exception as problem:
        text = f"<{_type_name(value)}: {_said(problem)}>"
    return text.encode("utf-8", "replace").decode("utf-8")


def _said(problem: BaseException) -> str:
    try:
        return str(problem)[:200]
    except Exception:
        return type(problem).__name__


def _type_name(value: Any) -> str:
    return "nothing" if value is None else type(value).__name__
