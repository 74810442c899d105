"""Logs: the last bytes of a job's output streams, in pieces, so that new output costs its own length only."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import Connection, and_, bindparam, delete, exists, func, or_, select
from sqlalchemy.orm import Session

from tracker.errors import NotFound
from tracker.states import LIVE_STATES
from tracker.store.among import among
from tracker.store.planned import ONCE
from tracker.store.tables import HookEvent, Log, LogPiece, Run
from tracker.terminal import condensed

MOST_FOLLOWED = 200
PIECE_BYTES = 8 * 1024
MOST_PIECES = 2000  # of a stream that are kept, however short they are
SETTLED_AFTER = timedelta(seconds=5)
_PIECES_A_LOOK = 16
_CHUNK_BYTES = 32 * 1024  # a screen of short codes may be large, so that little is drawn at a time


@dataclass(frozen=True)
class LogTail:
    """The last lines of a stream; `complete` when no more will come, `truncated` when there was more before them.

    A line `[1000 bytes left out]` stands where output came too fast.
    """

    text: str
    path: str
    complete: bool
    problem: str | None
    truncated: bool
    left_out_bytes: int


class Followed(NamedTuple):
    """A stream that is wanted from byte `offset_bytes` of the file."""

    job_id: int
    stream: str
    path: str
    uid: int | None
    offset_bytes: int
    file: str | None


class Delivery(NamedTuple):
    """Bytes of a stream's file from `offset_bytes`.

    `after_bytes`: what the sender was asked to go on from, None if it does not say. `anew`: it is another file, or the
    same one cut off, since. `file` identifies it. `eof`: it ended here.
    """

    offset_bytes: int
    content: bytes
    eof: bool
    after_bytes: int | None = None
    anew: bool = False
    file: str | None = None


class Output(NamedTuple):
    """Where a stream of a run is written: the file, and the node and the user that write it."""

    run_id: str
    stream: str
    path: str
    node: str | None
    uid: int | None


def expect(session: Session, outputs: Sequence[Output]) -> None:
    """Say where streams are written, so that the agents of those nodes follow them. Their runs are stored."""
    if not outputs:
        return
    of_runs = session.scalars(_OF_RUNS, {"runs": list({one.run_id for one in outputs})})
    known = {(log.run_id, log.stream): log for log in of_runs}
    for one in outputs:
        log = known.get((one.run_id, one.stream))
        if log is None:
            session.add(known.setdefault((one.run_id, one.stream), Log(**one._asdict())))
        elif (log.path, log.node) != (one.path, one.node) or log.complete:
            if log.path != one.path:
                log.offset_bytes, log.file = 0, None
            log.path, log.node, log.complete, log.problem = one.path, one.node, False, None


_OF_RUNS = select(Log).where(among(Log.__table__.c.run_id, "runs"))
_NEWEST_FIRST = Run.created_at.desc()
_FOLLOWED = (
    select(Run.job_id, Log.stream, Log.path, Log.uid, Log.offset_bytes, Log.file)
    .join(Run, Run.id == Log.run_id)
    .where(Run.job_id.is_not(None), Log.complete.is_(False))
    .where(or_(Run.state != "PENDING", Log.offset_bytes > 0))
)
_PLACE = func.row_number().over(partition_by=(Run.cluster, Log.node), order_by=_NEWEST_FIRST)
_PLACED = (
    _FOLLOWED.add_columns(Run.cluster, Log.node, _PLACE.label("place"))
    .where(among(Run.__table__.c.cluster, "clusters"), among(Log.__table__.c.node, "nodes"))
    .subquery()
)
_OF_NODES = select(_PLACED).where(_PLACED.c.place <= MOST_FOLLOWED).order_by(_PLACED.c.place).execution_options(**ONCE)
_OF_NOBODY = _FOLLOWED.where(Run.cluster == bindparam("cluster"), ~exists().where(HookEvent.run_id == Run.id))
_OF_OTHERS = _OF_NOBODY.order_by(_NEWEST_FIRST).limit(MOST_FOLLOWED)
_OF_USER = _OF_NOBODY.where(Run.user == bindparam("user")).order_by(_NEWEST_FIRST).limit(MOST_FOLLOWED)


def followed(
    session: Session | Connection, nodes: Collection[tuple[str, str]]
) -> dict[tuple[str, str], list[Followed]]:
    """By cluster and node the streams that its agent should follow: of running jobs, of ended ones until their end."""
    if not nodes:
        return {}
    asked = {"clusters": list({one for one, _ in nodes}), "nodes": list({one for _, one in nodes})}
    rows: dict[tuple[str, str], list[Any]] = {}
    for *row, cluster, node, _ in session.execute(_OF_NODES, asked):
        rows.setdefault((cluster, node), []).append(row)
    return {node: _newest(some) for node, some in rows.items()}


def followed_by_nobody(
    session: Session | Connection, cluster: str, user: str | None = None
) -> list[Followed]:  # fmt: skip
    """What an agent on a shared file system follows: runs of nodes that have no agent, as no hook tells of them.

    That of a person follows runs of that user.
    """
    of_whom = _OF_OTHERS if user is None else _OF_USER
    return _newest(session.execute(of_whom, {"cluster": cluster} | ({"user": user} if user else {})))


def _newest(rows: Iterable[Any]) -> list[Followed]:
    found: dict[tuple[int, str], Followed] = {}
    for row in rows:
        one = Followed(*row)
        found.setdefault((one.job_id, one.stream), one)  # ids are reused: a job folder is the newest run's
    return list(found.values())


def store(session: Session, run: Run, stream: str, sent: Delivery, *, now: datetime, keep_bytes: int) -> None:
    """Append what was sent to a stream and keep about the last `keep_bytes`. What is sent twice is stored once.

    The stream is complete when its file ends here and the run has been over for a while: a file that was read in the
    last moments of the job may have grown since.
    """
    log = session.get(Log, (run.id, stream))
    if log is None:
        return  # nobody asked for it
    if sent.after_bytes in (None, log.offset_bytes):
        _take(session, log, sent, keep_bytes)
    log.problem = None
    log.complete = sent.eof and _is_settled(run, now) and sent.offset_bytes + len(sent.content) == log.offset_bytes


def _take(session: Session, log: Log, sent: Delivery, keep_bytes: int) -> None:
    anew = sent.anew or log.offset_bytes == 0
    begin = 0 if anew else log.offset_bytes
    left_out = max(0, sent.offset_bytes - begin)
    content = sent.content[max(0, begin - sent.offset_bytes) :]
    log.file = sent.file or log.file
    if content or sent.anew:
        log.offset_bytes = sent.offset_bytes + len(sent.content)
    if content:
        _append(session, log, content, keep_bytes, left_out, anew)
        log.left_out_bytes += left_out
        _prune(session, log, keep_bytes)


def _append(session: Session, log: Log, content: bytes, keep_bytes: int, left_out: int, anew: bool) -> None:
    """Fill the last piece and begin others."""
    if len(content) > keep_bytes:
        content = content[-keep_bytes:]
        log.pieces += 1  # a number without a piece: something is missing there
    last = session.get(LogPiece, (log.run_id, log.stream, log.pieces - 1)) if log.pieces else None
    if last is None or left_out or anew or len(last.content) >= PIECE_BYTES:
        last = _begin(session, log, left_out, anew and log.pieces > 0)
    for start in range(0, len(content), _CHUNK_BYTES):
        joined = condensed(last.content + content[start : start + _CHUNK_BYTES])
        log.kept_bytes -= len(last.content)
        first, *others = _cut(joined)
        last.content = first
        for one in others:
            last = _begin(session, log)
            last.content = one
        log.kept_bytes += len(joined)


def _begin(session: Session, log: Log, left_out: int = 0, anew: bool = False) -> LogPiece:
    piece = LogPiece(
        run_id=log.run_id, stream=log.stream, number=log.pieces, content=b"", left_out_bytes=left_out, anew=anew
    )
    session.add(piece)
    log.pieces += 1
    return piece


def _cut(content: bytes) -> Iterator[bytes]:
    """Pieces that end where a line does, unless it is a long one. There is at least one."""
    start = 0
    while len(content) - start > PIECE_BYTES:
        end = content.rfind(b"\n", start, start + PIECE_BYTES) + 1 or start + PIECE_BYTES
        while content[end - 1] != 0x0A and content[end] & 0xC0 == 0x80 and end > start + PIECE_BYTES - 3:
            end -= 1  # within a character
        yield content[start:end]
        start = end
    yield content[start:]


def _prune(session: Session, log: Log, keep_bytes: int) -> None:
    """Delete the first pieces as long as the others hold `keep_bytes`, and those beyond MOST_PIECES."""
    session.flush()
    mine = (LogPiece.run_id == log.run_id, LogPiece.stream == log.stream)
    end = log.pieces - MOST_PIECES
    if log.kept_bytes > keep_bytes or log.pieces > MOST_PIECES:
        sizes = select(LogPiece.number, func.length(LogPiece.content)).where(*mine).order_by(LogPiece.number)
        for number, size in session.execute(sizes):
            if log.kept_bytes - size < keep_bytes and number >= end:
                break
            log.kept_bytes -= size
            end = max(end, number + 1)
        session.execute(
            delete(LogPiece).where(*mine, LogPiece.number < end), execution_options={"synchronize_session": False}
        )


def _is_settled(run: Run, now: datetime) -> bool:
    return run.state not in LIVE_STATES and (run.ended_at is None or run.ended_at + SETTLED_AFTER < now)


def unreadable(session: Session, run: Run, stream: str, problem: str, now: datetime) -> None:
    """Say why a stream cannot be read. It is not asked for again once the run has ended."""
    log = session.get(Log, (run.id, stream))
    if log is not None:
        log.problem = problem[:500]
        log.complete = _is_settled(run, now)


def ends(session: Session, run_id: str, most: int, first: int = 0) -> tuple[list[Log], dict[str, list[LogPiece]]]:
    """The streams of a run, stdout before stderr, and of each the last pieces: at most `most`, from number `first`."""
    shown = and_(
        LogPiece.run_id == Log.run_id,
        LogPiece.stream == Log.stream,
        LogPiece.number >= max(first, 0),
        LogPiece.number >= Log.pieces - most,
    )
    query = select(Log, LogPiece).outerjoin(LogPiece, shown).where(Log.run_id == run_id)
    logs: dict[str, Log] = {}
    pieces: dict[str, list[LogPiece]] = {}
    for log, piece in session.execute(query.order_by(Log.stream.desc(), LogPiece.number)):
        logs[log.stream] = log
        pieces.setdefault(log.stream, []).extend([piece] if piece is not None else [])
    return list(logs.values()), pieces


def tail(session: Session, run_id: str, stream: str, lines: int) -> LogTail:
    """The last lines of a stream. Raises NotFound when the stream's file is not known."""
    log = session.get(Log, (run_id, stream))
    if log is None:
        raise NotFound(f"The place of {stream} of this run is not known.")
    found = _last(session, log, lines)
    text = ""
    for piece in found:
        mark = marked(piece)
        text += ("\n" if mark and text and not text.endswith("\n") else "") + mark
        text += piece.content.decode("utf-8", "surrogateescape")  # a character may be cut in two
    text = text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    kept = text.splitlines(keepends=True)[-lines:]
    more = bool(found) and (found[0].number > 0 or found[0].left_out_bytes > 0)
    truncated = more or len("".join(kept)) < len(text)
    return LogTail("".join(kept), log.path, log.complete, log.problem, truncated, log.left_out_bytes)


def _last(session: Session, log: Log, lines: int) -> list[LogPiece]:
    """The last pieces, with so many lines and perhaps some more; the oldest one first."""
    mine = (LogPiece.run_id == log.run_id, LogPiece.stream == log.stream)
    query = select(LogPiece).where(*mine).order_by(LogPiece.number.desc()).limit(_PIECES_A_LOOK)
    found: list[LogPiece] = []
    while sum(piece.content.count(b"\n") for piece in found) <= lines:
        more = list(session.scalars(query.where(LogPiece.number < (found[-1].number if found else log.pieces))))
        if not more:
            break
        found += more
    return found[::-1]


def marked(piece: LogPiece) -> str:
    """The line that tells what is missing before a piece; empty if nothing is."""
    left_out = f"[{piece.left_out_bytes} bytes left out]\n" if piece.left_out_bytes else ""
    return ("[the file was written anew]\n" if piece.anew else "") + left_out
