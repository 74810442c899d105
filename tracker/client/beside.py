"""Pictures, histograms and tables of a run: each function here tells of one thing by one line of docs/spool.md.

What they raise becomes a note of the run (`Run._tell_beside`).
"""

from __future__ import annotations

import base64
import time

from tracker.client import encode, images, media
from tracker.client.encode import Unusable
from tracker.client.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any, Mapping, Protocol

    class Teller(Protocol):
        """A run, as it is seen from here."""

        def known_step(self) -> int | None:
            """Return the step logged last, as far as that is known without waiting."""

        def tell(self, event: Mapping[str, Any]) -> None:
            """Append an event of docs/spool.md."""

        def note(self, key: str, reason: str) -> None:
            """Say what could not be stored, and why."""


def image(run: Teller, name: Any, given: Any, step: Any) -> None:
    """Tell of a picture. Raises Unusable."""
    raw, done = images.encoded(given)
    _tell_image(run, name, raw, done, step)


def figure(run: Teller, name: Any, given: Any, step: Any) -> None:
    """Tell of a matplotlib figure. Raises Unusable."""
    raw, done = images.encoded(images.drawn(given))
    _tell_image(run, name, raw, done, step)


def _tell_image(run: Teller, name: Any, raw: bytes, done: str | None, step: Any) -> None:
    if done:
        run.note(f"image {encode.clean(name)}", done)
    run.tell({**beginning("media", run, name, step), "kind": "image", "data": base64.b64encode(raw).decode()})


def histogram(run: Teller, name: Any, values: Any, bins: Any, step: Any) -> None:
    """Tell how numbers are spread. Raises Unusable."""
    run.tell({**beginning("media", run, name, step), "kind": "histogram", **media.histogram(values, bins)})


def table(run: Teller, name: Any, columns: Any, rows: Any, step: Any) -> None:
    """Tell of a table. Raises Unusable."""
    told, left_out = media.table(columns, rows)
    if left_out:
        run.note(f"table {encode.clean(name)}", left_out)
    run.tell({**beginning("media", run, name, step), "kind": "table", **told})


def beginning(event: str, run: Teller, name: Any, step: Any) -> dict[str, Any]:
    """Return what each such line begins with; the step is the one logged last if none is given. Raises Unusable."""
    line = {"event": event, "name": encode.clean(name)[:500], "time": time.time()}
    if step is None:
        step = run.known_step()
    if step is not None:
        whole, reason = encode.as_step(step)
        if whole is None:
            raise Unusable(reason)
        line["step"] = whole
    return line
