"""How figures grow with the size of what is measured: between the smallest and the largest, and a word for it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bench._figures import Row, Table

_WORDS = (
    (-0.1, "it falls"),
    (0.1, "it stays as it is"),
    (0.9, "it grows, slower than the size"),
    (1.1, "it grows as the size does"),
)


class Growth:
    """Figures of the same thing at several sizes."""

    def __init__(self, unit: str) -> None:
        """What the sizes are of: `points`."""
        self._unit = unit
        self._figures: dict[tuple[str, str], list[tuple[float, float]]] = {}

    def add(self, name: str, size: float, row: Row, *keys: str) -> Row:
        """Keep these figures of a row; the row."""
        for key in keys:
            self._figures.setdefault((name, key), []).append((size, float(row[key] or 0)))
        return row

    def tables(self, title: str = "How that grows") -> list[Table]:
        """A table of what was measured at more sizes than one, if anything was.

        `power`: the figure grows as the size to the power of it, by a line through the logarithms of all of them.
        """
        rows = [self._row(*about, sorted(found)) for about, found in self._figures.items() if len(found) > 1]
        return [Table(title, rows)] if rows else []

    def _row(self, name: str, key: str, found: Sequence[tuple[float, float]]) -> Row:
        (least, first), (most, last) = found[0], found[-1]
        sizes, figures = np.array(found).T
        power = float(np.polyfit(np.log(sizes), np.log(np.maximum(figures, 1e-9)), 1)[0])
        word = next((word for limit, word in _WORDS if power < limit), "it grows faster than the size")
        return {
            "": f"{name}: {key}", "from": f"{least:,.0f} {self._unit}", "to": f"{most:,.0f} {self._unit}",
            "at first": first, "at last": last, "times": last / first if first else None, "power": power, "so": word,
        }  # fmt: skip
