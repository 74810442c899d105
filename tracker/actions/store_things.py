"""Store the artifacts and media that lines of a spool file tell of."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from tracker.actions.correct_times import corrected
from tracker.actions.read_lines import Thing
from tracker.actions.read_things import BadLine, read_artifact, read_medium
from tracker.actions.read_values import MAX_NAME_CHARS, text
from tracker.store import artifacts, media
from tracker.store.database import Session
from tracker.store.writers import HeldWriter


def store_things(
    session: Session, writer: HeldWriter, things: Sequence[Thing], *, first_offset_bytes: int, start: int, now_s: float
) -> dict[str, str]:
    """Store what lines tell that begin at `first_offset_bytes` of the writer's file, once for each place in it.

    `start` is the step at which the file stood before them.

    The answer says by name what could not be kept, and why.
    """
    notes: dict[str, str] = {}
    skew = timedelta(microseconds=writer.clock_skew_us)
    now_s -= skew.total_seconds()
    found: dict[str, list[dict[str, Any]]] = {"artifact": [], "media": []}
    for message, offset_bytes, step, is_counted in things:
        event = message["event"]
        try:
            if event == "artifact":
                found[event].append(read_artifact(message, now_s))
            else:
                row = read_medium(message, now_s, max(step + start if is_counted else step, 0))
                found[event].append({"writer": writer.name, "offset_bytes": first_offset_bytes + offset_bytes, **row})
        except BadLine as problem:
            notes[text(message.get("name"), MAX_NAME_CHARS) or event] = str(problem)
    for row in (*found["artifact"], *found["media"]) if skew else ():
        row["logged_at"] = corrected(row["logged_at"], skew)
    if artifacts.put(session, writer.run_id, found["artifact"]):
        notes["artifacts"] = f"the run has {artifacts.MOST_ARTIFACTS} already"
    if media.add(session, writer.run_id, found["media"]):
        most = f"{media.MOST_MEDIA} or {media.MOST_BYTES // 1024**2} MiB of them"
        notes["images, histograms and tables"] = f"a run may have {most}; what came later is not kept"
    return notes
