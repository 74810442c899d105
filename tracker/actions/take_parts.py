"""Take single parts of a delivery that are no lines: hook events, output, and what an agent saw of a folder."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from tracker.actions.apply_hook import apply_hook
from tracker.actions.correct_times import corrected
from tracker.actions.read_delivery import Delivery, Part, folder_of, size
from tracker.actions.read_values import MAX_TIME_S, text, utc
from tracker.actions.store_lines import Learn
from tracker.errors import BadInput
from tracker.events import JobFolder, parse_hook_event
from tracker.states import LIVE_STATES, LOST
from tracker.store import heard, logs, params, runs, silence
from tracker.store.database import Session
from tracker.store.tables import Run


@dataclass(frozen=True)
class Intake:
    """A delivery that is being stored. `skew`: how far the node's clock is behind ours; `learn`: see store_lines."""

    session: Session
    delivery: Delivery
    skew: timedelta
    log_tail_bytes: int
    learn: Learn


def take_part(intake: Intake, part: Part, blob: bytes) -> dict[str, Any]:
    """Store a part; what is to be said of it. Raises BadInput."""
    take = _TYPES.get(str(part.get("type")))
    if take is None:
        raise BadInput(f"There is no part of type `{str(part.get('type'))[:40]}`.")
    return take(intake, part, blob)


def _hook(intake: Intake, part: Part, blob: bytes) -> dict[str, Any]:
    name = text(part.get("name"), 255)
    if name is None:
        raise BadInput("A hook's event needs a name.")
    said = {key: text(value) or "" for key, value in parse_hook_event(blob).items()}
    stamped_at = _moment(part)
    apply_hook(
        intake.session, name=name, node=intake.delivery.node, cluster=intake.delivery.cluster, stamped_at=stamped_at,
        at=corrected(stamped_at, intake.skew), said=said,
    )  # fmt: skip
    return {"stored": True}


def _log(intake: Intake, part: Part, blob: bytes) -> dict[str, Any]:
    run = _run_of(intake, folder_of(part))
    stream = part.get("stream")
    if run is None or stream not in ("stdout", "stderr"):
        raise BadInput("A log is `stdout` or `stderr` of a known job.")
    problem = text(part.get("error"))
    if problem:
        logs.unreadable(intake.session, run, stream, problem, intake.delivery.now)
    else:
        after = part.get("after")
        sent = logs.Delivery(
            size(part.get("offset")), blob, part.get("eof") is True, None if after is None else size(after),
            part.get("anew") is True, text(part.get("file"), 40),
        )  # fmt: skip
        logs.store(intake.session, run, stream, sent, now=intake.delivery.now, keep_bytes=intake.log_tail_bytes)
    if blob or problem:
        heard.stamp(run, intake.delivery.now)
    return {"stored": True}


def _gone(intake: Intake, part: Part, _blob: bytes) -> dict[str, Any]:
    run = _run_of(intake, folder_of(part))
    if run is not None and run.cluster is None and (run.state in LIVE_STATES or silence.is_silent(run)):
        runs.changes(
            run, state=LOST, state_source="client", reason="its process is gone and said no goodbye",
            ended_at=corrected(_moment(part), intake.skew), updated_at=intake.delivery.now,
        )  # fmt: skip
    return {"stored": True}


def _left_out(intake: Intake, part: Part, _blob: bytes) -> dict[str, Any]:
    run = _run_of(intake, folder_of(part))
    left_bytes, limit_bytes = size(part.get("left_bytes")), size(part.get("limit_bytes"))
    if run is not None:
        told = f"{_mib(left_bytes)} MiB that the job wrote are above the limit of {_mib(limit_bytes)} MiB and left out"
        params.add_notes(intake.session, run.id, {"spool": told})
    return {"stored": True}


def _mib(size_bytes: int) -> str:
    return f"{size_bytes / 1024**2:,.4g}"


def _run_of(intake: Intake, folder: JobFolder) -> Run | None:
    """The run of a job folder, locked; None if there is none yet."""
    if folder.run_id:
        return runs.lock(intake.session, str(uuid.UUID(folder.run_id)))
    assert folder.cluster is not None and folder.job_id is not None
    return runs.of_job(intake.session, folder.cluster, folder.job_id, intake.delivery.now)


def _moment(part: Part) -> datetime:
    at = part.get("time")
    if not isinstance(at, (int, float)) or not 0 <= at <= MAX_TIME_S:
        raise BadInput("`time` is in seconds since 1970.")
    return utc(at)


_TYPES: dict[str, Callable[[Intake, Part, bytes], dict[str, Any]]] = {
    "hook": _hook,
    "log": _log,
    "gone": _gone,
    "left_out": _left_out,
}
