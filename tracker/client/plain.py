"""Encodes by the standard library alone, where there is no orjson. `encode` says what may come here."""

from __future__ import annotations

import json

from tracker.client.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any, Collection

_INT64_LEAST, _INT64_MOST = -(2**63), 2**63 - 1
_FLOATS = {float}
_FLOATS_AND_INTS = {float, int}
_MOST_FORMS = 10_000
_json = json.JSONEncoder(separators=(",", ":"), allow_nan=False, check_circular=False).encode


def line(message: dict[str, Any]) -> bytes:
    """Encode what `encode.storable` made."""
    return (_json(message) + "\n").encode()


def line_of_points(message: dict[str, Any], _default: None, _option: int) -> bytes:
    """Encode finite numbers under their names. Raises ValueError, or whatever it meets, for what else is there.

    It is called as `orjson.dumps` is.
    """
    metrics, step = message["metrics"], message.get("step")
    numbers = metrics.values()
    types = {*map(type, numbers)}
    if types != _FLOATS and not (types <= _FLOATS_AND_INTS and _are_int64(numbers)):
        raise ValueError("others have a repr that need not be JSON, and json would write any integer")
    filled = ",".join(map(_forms.__getitem__, metrics)) % (*numbers,)
    counted = "" if step is None else f',"step":{step}'
    return f'{{"metrics":{{{filled}}}{counted},"time":{message["time"]!r}}}\n'.encode()


def _are_int64(numbers: Collection[int | float]) -> bool:
    return min(numbers) >= _INT64_LEAST and max(numbers) <= _INT64_MOST


class _Forms(dict):  # type: ignore[type-arg]
    """For each name of a metric `"name":%r`: the same few names come again and again."""

    def __missing__(self, name: str) -> str:
        if type(name) is not str:
            raise ValueError("json would write any key as a text")
        name.encode()  # raises for halves of characters, which the server cannot take
        if len(self) >= _MOST_FORMS:
            self.clear()
        form: str = _json(name).replace("%", "%%") + ":%r"
        self[name] = form
        return form


_forms = _Forms()
