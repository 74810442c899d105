"""Logs: the last bytes of a job's output streams."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import exists, func, or_, select
from sqlalchemy.orm import Session

from tracker.errors import NotFound
from tracker.states import LIVE_STATES
from tracker.store.tables import HookEvent, Log, Run

MOST_FOLLOWED = 200
SETTLED_AFTER = timedelta(seconds=5)


@dataclass(frozen=True)
class LogTail:
    """The last lines of a stream; `complete` when no more will come, `truncated` when there was more before them."""

    text: str
    path: str
    complete: bool
    problem: str | None
    truncated: bool


class Followed(NamedTuple):
    """A stream that is wanted from byte `offset_bytes`."""

    job_id: int
    stream: str
    path: str
    uid: int | None
    offset_bytes: int


def expect(session: Session, run_id: str, stream: str, path: str, node: str | None, uid: int | None) -> None:
    """Say where a stream of the run is written, so that the agent of that node follows it."""
    log = session.get(Log, (run_id, stream))
    if log is None:
        session.add(Log(run_id=run_id, stream=stream, path=path, node=node, uid=uid, offset_bytes=0, content=b""))
    elif (log.path, log.node) != (path, node) or log.complete:
        log.path, log.node, log.complete, log.problem = path, node, False, None


def followed(session: Session, cluster: str, node: str | None) -> list[Followed]:
    """Streams that the agent of the node should follow: of running jobs, and of ended ones until their end was read.

    None stands for an agent on a shared file system: it follows the runs of nodes that have no agent, as no hook tells.
    """
    hooked = exists().where(HookEvent.run_id == Run.id)
    query = (
        select(Run.job_id, Log.stream, Log.path, Log.uid, Log.offset_bytes + func.length(Log.content))
        .join(Run, Run.id == Log.run_id)
        .where(
            Run.cluster == cluster,
            Run.job_id.is_not(None),
            Log.complete.is_(False),
            ~hooked if node is None else Log.node == node,
        )
        .where(or_(Run.state != "PENDING", Log.offset_bytes > 0))
        .order_by(Run.created_at.desc())
        .limit(MOST_FOLLOWED)
    )
    newest: dict[tuple[int, str], Followed] = {}
    for row in session.execute(query):
        one = Followed(*row)  # type: ignore[arg-type]  # the query asks for runs that have a job id
        newest.setdefault((one.job_id, one.stream), one)  # ids are reused: a job folder is the newest run's
    return list(newest.values())


def store(
    session: Session,
    run: Run,
    stream: str,
    offset_bytes: int,
    content: bytes,
    *,
    eof: bool,
    now: datetime,
    keep_bytes: int,
) -> None:
    """Keep the last `keep_bytes` of a stream, given bytes of its file from `offset_bytes`.

    It is complete when its file ends here and the run has been over for a while: a file that was read in the last
    moments of the job may have grown since.
    """
    log = session.get(Log, (run.id, stream))
    if log is None:
        return  # nobody asked for it
    held_until = log.offset_bytes + len(log.content)
    joined = log.content + content if offset_bytes == held_until else content
    if content or offset_bytes < held_until:
        log.content = joined[-keep_bytes:]
        log.offset_bytes = offset_bytes + len(content) - len(log.content)
    log.problem = None
    log.complete = eof and _is_settled(run, now)


def _is_settled(run: Run, now: datetime) -> bool:
    return run.state not in LIVE_STATES and (run.ended_at is None or run.ended_at + SETTLED_AFTER < now)


def unreadable(session: Session, run: Run, stream: str, problem: str, now: datetime) -> None:
    """Say why a stream cannot be read. It is not asked for again once the run has ended."""
    log = session.get(Log, (run.id, stream))
    if log is not None:
        log.problem = problem[:500]
        log.complete = _is_settled(run, now)


def tail(session: Session, run_id: str, stream: str, lines: int) -> LogTail:
    """The last lines of a stream. Raises NotFound when the stream's file is not known."""
    log = session.get(Log, (run_id, stream))
    if log is None:
        raise NotFound(f"The place of {stream} of this run is not known.")
    return _end_of(log, lines)


def tails(session: Session, run_id: str, lines: int) -> dict[str, LogTail]:
    """The last lines of each stream of the run, stdout before stderr."""
    found = session.scalars(select(Log).where(Log.run_id == run_id).order_by(Log.stream.desc()))
    return {log.stream: _end_of(log, lines) for log in found}


def _end_of(log: Log, lines: int) -> LogTail:
    text = log.content.decode("utf-8", "replace")
    kept = text.splitlines(keepends=True)[-lines:]
    truncated = log.offset_bytes > 0 or len("".join(kept)) < len(text)
    return LogTail("".join(kept), log.path, log.complete, log.problem, truncated)
