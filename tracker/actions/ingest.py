"""The one door: everything that agents deliver comes in here (docs/protocol.md)."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any

from tracker.actions.apply_hook import apply_hook, job_of
from tracker.actions.correct_times import corrected
from tracker.actions.end_beside import end_beside
from tracker.actions.read_lines import read_lines
from tracker.actions.read_values import MAX_TIME_S, text, utc
from tracker.actions.store_lines import Sent, store_lines
from tracker.errors import BadInput, BadManifest, DatabaseUnavailable, Forbidden, TrackerError
from tracker.events import MAX_LINE_BYTES, WRITER_NAME, JobFolder, decode_request, parse_hook_event, run_of_writer
from tracker.states import LIVE_STATES, LOST
from tracker.store import attempts, clocks, logs, params, runs, silence, told
from tracker.store.database import Database, Session, is_outage
from tracker.store.identity import Identity
from tracker.store.tables import Run

log = logging.getLogger("tracker.ingest")

Part = dict[str, Any]


@dataclass(frozen=True)
class _Delivery:
    """What all parts of a request share. `shared`: the agent sees a shared file system, not one node of the cluster.

    `skew`: how far the node's clock is behind ours.
    """

    session: Session
    now: datetime
    node: str
    cluster: str | None
    shared: bool
    log_tail_bytes: int
    skew: timedelta


@dataclass(frozen=True)
class _Request:
    """A request, read. `lines` are what parts of type `lines` bring, or why they cannot be used, by their places."""

    agent: dict[str, Any]
    node: str
    cluster: str | None
    manifest: dict[str, Any]
    parts: list[tuple[Part, bytes]]
    lines: dict[int, Sent | BadInput]


def ingest(db: Database, identity: Identity, body: bytes, now: datetime, log_tail_bytes: int) -> dict[str, Any]:
    """Store what an agent delivers, all of it in one transaction; answer as docs/protocol.md says.

    `now` is when the request arrived, before it waited for anything: the agent's clock is measured by it.

    Raises Forbidden when the sender may not deliver, BadManifest when the request is not understood.
    """
    if not identity.may_ingest:
        raise Forbidden("This token may read, not deliver; an agent needs a key of `tracker token create --agent`.")
    manifest, blobs = decode_request(body)
    request = _read(manifest, blobs)
    try:
        return _store(db, request, now, log_tail_bytes, _together)
    except Exception as problem:  # the outermost place of a request: what went wrong comes again, and is recorded there
        if isinstance(problem, DatabaseUnavailable):
            raise
        return _store(db, _read(manifest, blobs), now, log_tail_bytes, _one_by_one)


def _read(manifest: dict[str, Any], blobs: list[bytes]) -> _Request:
    """Understand a request, before a transaction makes others wait for it."""
    agent = manifest["agent"]
    node = text(agent.get("node"), 255)
    if node is None:
        raise BadManifest("`agent.node` must name the node.")
    parts = [*zip(manifest["parts"], blobs, strict=True)]
    read = {place: _sent(*part) for place, part in enumerate(parts) if part[0].get("type") == "lines"}
    return _Request(agent, node, text(agent.get("cluster"), 64), manifest, parts, read)


def _sent(part: Part, blob: bytes) -> Sent | BadInput:
    try:
        writer, offset_bytes, folder = part.get("writer"), _size(part.get("offset")), _folder(part)
    except BadInput as problem:
        return problem
    if not isinstance(writer, str) or not WRITER_NAME.match(writer):
        return BadInput("A writer's name is 1 to 64 letters, digits, `_` and `-`.")
    end = blob.rfind(b"\n") + 1 or (len(blob) if len(blob) >= MAX_LINE_BYTES else 0)  # a line that long is rejected
    said = read_lines(blob[:end])
    return Sent(folder, writer, offset_bytes, offset_bytes + end, said, text(part.get("user"), 255))


Take = Callable[[_Delivery, _Request], list[dict[str, Any]]]


def _store(db: Database, request: _Request, now: datetime, log_tail_bytes: int, take: Take) -> dict[str, Any]:
    manifest, node, cluster = request.manifest, request.node, request.cluster
    with db.write() as session:
        shared = request.agent.get("shared") is True
        runs.reserve(session, *_runs(request))
        skew = timedelta(0) if shared else _skew(session, cluster or "", node, request.agent.get("time"), now)
        delivery = _Delivery(session, now, node, cluster, shared, log_tail_bytes, skew)
        answers = take(delivery, request)
        session.flush()
        released = _release(delivery, manifest.get("folders"))
        if released:
            end_beside(session, now)
        return {
            "parts": answers,
            "follow": _follow(delivery),
            "release": released,
            "gpus": _gpus(delivery, manifest.get("gpus_of")),
            "tell": _tell(delivery, manifest.get("present")),
        }


def _skew(session: Session, cluster: str, node: str, said: Any, now: datetime) -> timedelta:
    if type(said) not in (int, float) or not 0 <= said <= MAX_TIME_S:
        return timedelta(0)
    return clocks.behind(session, cluster, node, timedelta(seconds=now.timestamp() - said), now)


def _runs(request: _Request) -> tuple[set[tuple[str, int]], set[str]]:
    """The Slurm jobs and the ids of runs outside Slurm that the parts speak of."""
    jobs: set[tuple[str | None, int | None]] = set()
    ids: set[str] = set()
    for part, blob in request.parts:
        folder = JobFolder.parse(str(part.get("folder")))
        if part.get("type") == "hook":
            named, job_id = job_of(parse_hook_event(blob))
            jobs.add((named or request.cluster, job_id))
        elif folder and folder.run_id:
            ids.add(str(uuid.UUID(folder.run_id)))
        elif folder:
            jobs.add((folder.cluster, folder.job_id))
        if folder and (beside := run_of_writer(str(part.get("writer")))):
            ids.add(str(uuid.UUID(beside)))
    return {(cluster, job_id) for cluster, job_id in jobs if cluster and job_id}, ids


def _together(delivery: _Delivery, request: _Request) -> list[dict[str, Any]]:
    """Take the parts in their order, lines that follow each other together. What fails leaves the request undone."""
    answers: list[dict[str, Any]] = []
    for is_lines, group in groupby(enumerate(request.parts), lambda one: one[0] in request.lines):
        if is_lines:
            answers += _lines(delivery, [request.lines[place] for place, _ in group])
        else:
            answers += [_take(delivery, part, blob) for _, (part, blob) in group]
    return answers


def _one_by_one(delivery: _Delivery, request: _Request) -> list[dict[str, Any]]:
    """Take each part as a whole or not at all: one that we cannot store must not hold up the others."""
    return [_alone(delivery, request, place) for place in range(len(request.parts))]


def _alone(delivery: _Delivery, request: _Request, place: int) -> dict[str, Any]:
    try:
        with delivery.session.begin_nested():
            if place in request.lines:
                return _lines(delivery, [request.lines[place]])[0]
            return _take(delivery, *request.parts[place])
    except TrackerError as problem:
        return _refusal(problem)
    except Exception as problem:  # the outermost place of a part
        if is_outage(problem):
            raise
        log.exception("a part of %s of %s cannot be stored", delivery.node, delivery.cluster)
        return {"error": {"code": "internal", "detail": "The server could not store this; its log tells why."}}


def _refusal(problem: TrackerError) -> dict[str, Any]:
    return {"error": {"code": problem.code, "detail": str(problem)}}


def _take(delivery: _Delivery, part: Part, blob: bytes) -> dict[str, Any]:
    take = _TYPES.get(str(part.get("type")))
    if take is None:
        raise BadInput(f"There is no part of type `{str(part.get('type'))[:40]}`.")
    return take(delivery, part, blob)


def _lines(delivery: _Delivery, sent: list[Sent | BadInput]) -> list[dict[str, Any]]:
    usable = [one for one in sent if isinstance(one, Sent)]
    held = iter(store_lines(delivery.session, usable, now=delivery.now, skew=delivery.skew))
    answers = [next(held) if isinstance(one, Sent) else one for one in sent]
    return [{"offset": one} if isinstance(one, int) else _refusal(one) for one in answers]


def _hook(delivery: _Delivery, part: Part, blob: bytes) -> dict[str, Any]:
    name = text(part.get("name"), 255)
    if name is None:
        raise BadInput("A hook's event needs a name.")
    said = {key: text(value) or "" for key, value in parse_hook_event(blob).items()}
    stamped_at = _moment(part)
    apply_hook(
        delivery.session, name=name, node=delivery.node, cluster=delivery.cluster, stamped_at=stamped_at,
        at=corrected(stamped_at, delivery.skew), said=said,
    )  # fmt: skip
    return {"stored": True}


def _log(delivery: _Delivery, part: Part, blob: bytes) -> dict[str, Any]:
    run = _run_of(delivery, _folder(part))
    stream = part.get("stream")
    if run is None or stream not in ("stdout", "stderr"):
        raise BadInput("A log is `stdout` or `stderr` of a known job.")
    problem = text(part.get("error"))
    if problem:
        logs.unreadable(delivery.session, run, stream, problem, delivery.now)
    else:
        after = part.get("after")
        sent = logs.Delivery(
            _size(part.get("offset")), blob, part.get("eof") is True, None if after is None else _size(after),
            part.get("anew") is True, text(part.get("file"), 40),
        )  # fmt: skip
        logs.store(delivery.session, run, stream, sent, now=delivery.now, keep_bytes=delivery.log_tail_bytes)
    if blob or problem:
        runs.changes(run, updated_at=delivery.now)
    return {"stored": True}


def _gone(delivery: _Delivery, part: Part, _blob: bytes) -> dict[str, Any]:
    run = _run_of(delivery, _folder(part))
    if run is not None and run.cluster is None and (run.state in LIVE_STATES or silence.is_silent(run)):
        runs.changes(
            run, state=LOST, state_source="client", reason="its process is gone and said no goodbye",
            ended_at=corrected(_moment(part), delivery.skew), updated_at=delivery.now,
        )  # fmt: skip
    return {"stored": True}


def _left_out(delivery: _Delivery, part: Part, _blob: bytes) -> dict[str, Any]:
    run = _run_of(delivery, _folder(part))
    left_bytes, limit_bytes = _size(part.get("left_bytes")), _size(part.get("limit_bytes"))
    if run is not None:
        told = f"{_mib(left_bytes)} MiB that the job wrote are above the limit of {_mib(limit_bytes)} MiB and left out"
        params.add_notes(delivery.session, run.id, {"spool": told})
    return {"stored": True}


def _mib(size_bytes: int) -> str:
    return f"{size_bytes / 1024**2:,.4g}"


_TYPES: dict[str, Callable[[_Delivery, Part, bytes], dict[str, Any]]] = {
    "hook": _hook,
    "log": _log,
    "gone": _gone,
    "left_out": _left_out,
}


def _follow(delivery: _Delivery) -> list[dict[str, Any]]:
    """The output files that this agent should read."""
    if not delivery.cluster:
        return []
    wanted = logs.followed(delivery.session, delivery.cluster, None if delivery.shared else delivery.node)
    return [
        {
            "folder": JobFolder(delivery.cluster, one.job_id, None).name,
            "stream": one.stream,
            "path": one.path,
            "uid": one.uid,
            "offset": one.offset_bytes,
            "keep": delivery.log_tail_bytes,
            **({"file": one.file} if one.file else {}),
        }
        for one in wanted
    ]


def _tell(delivery: _Delivery, named: Any) -> list[dict[str, Any]]:
    """What running jobs among the agent's folders should know."""
    jobs = [(one.cluster, one.job_id) for one in _folders(named) if one.cluster and one.job_id]
    return [
        {"folder": JobFolder(one.cluster, one.job_id, None).name, "attempt": one.attempt}
        | ({} if one.ends_at is None else {"ends_at": one.ends_at.timestamp()})
        | ({} if one.last_step is None else {"last_step": one.last_step})
        for one in told.of_jobs(delivery.session, jobs)
    ]


def _release(delivery: _Delivery, named: Any) -> list[str]:
    """Of the drained folders those whose run is over for good."""
    folders = _folders(named)
    jobs = [(one.cluster, one.job_id) for one in folders if one.cluster and one.job_id]
    ids = {str(uuid.UUID(one.run_id)): one.name for one in folders if one.run_id}
    over = runs.over(delivery.session, jobs, ids)
    return [ids.get(run.id) or JobFolder(run.cluster, run.job_id, None).name for run in over]


def _gpus(delivery: _Delivery, named: Any) -> dict[str, list[int]]:
    """The GPUs that these jobs have on the agent's node: it was not there when their Prolog told of them."""
    jobs = {(one.cluster, one.job_id) for one in _folders(named) if one.cluster and one.job_id}
    held = attempts.gpus_on(delivery.session, jobs, delivery.node)
    return {JobFolder(cluster, job_id, None).name: indices for (cluster, job_id), indices in held.items()}


def _folders(named: Any) -> set[JobFolder]:
    names = [one for one in named if isinstance(one, str)] if isinstance(named, list) else []
    return {folder for folder in map(JobFolder.parse, names[:1000]) if folder}


def _run_of(delivery: _Delivery, folder: JobFolder) -> Run | None:
    """The run of a job folder, locked; None if there is none yet."""
    if folder.run_id:
        return runs.lock(delivery.session, str(uuid.UUID(folder.run_id)))
    assert folder.cluster is not None and folder.job_id is not None
    return runs.of_job(delivery.session, folder.cluster, folder.job_id, delivery.now)


def _folder(part: Part) -> JobFolder:
    folder = JobFolder.parse(str(part.get("folder")))
    if folder is None:
        raise BadInput("`folder` is <cluster>.<job id> or local.<32 hexadecimal digits>.")
    return folder


def _size(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 2**63:
        raise BadInput("Offsets and sizes count bytes from 0.")
    return value


def _moment(part: Part) -> datetime:
    at = part.get("time")
    if not isinstance(at, (int, float)) or not 0 <= at <= MAX_TIME_S:
        raise BadInput("`time` is in seconds since 1970.")
    return utc(at)
