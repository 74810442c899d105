"""The output files that the server wishes to follow: when each is looked at, and what is said of it."""

from __future__ import annotations

import time
from typing import Any, Iterator

from tracker.agent.backlog import Part
from tracker.agent.outputs import MOST_BEHIND_BYTES, OutputReader, Piece, Wanted
from tracker.agent.spool import SpoolFolder

_LEAST_REST_S = 1.0  # so that an output has a bounded rate
_LONGEST_REST_S = 10.0
_REST = 1 / 5  # of the time in which an output was silent passes until it is looked at again
_CONFIRM_EVERY_S = 5.0  # that there is nothing new, or why there is nothing


class _Stream:
    """An output that is followed."""

    def __init__(self, wanted: Wanted) -> None:
        self.wanted = wanted
        self.heard_s = time.monotonic()
        self.rest_s = self.next_look_s = self.confirmed_s = 0.0

    def take(self, piece: Piece, now_s: float) -> bool:
        """Take note of what was read; say whether the server should know."""
        has_news = bool(piece.content) or piece.anew
        if has_news:
            self.heard_s = now_s
        if has_news or now_s >= self.confirmed_s + _CONFIRM_EVERY_S:
            self.confirmed_s = now_s
            return True
        return False

    def rest(self, now_s: float) -> None:
        """Leave it alone for a while."""
        self.rest_s = min(_LONGEST_REST_S, max(_LEAST_REST_S, (now_s - self.heard_s) * _REST))
        self.next_look_s = now_s + self.rest_s


class Followed:
    """The outputs that are followed."""

    def __init__(self) -> None:
        self._reader = OutputReader()
        self._streams: dict[tuple[str, str], _Stream] = {}

    def wish(self, follow: Any) -> None:
        """Take the server's wish, which is all that it wants followed."""
        streams: dict[tuple[str, str], _Stream] = {}
        for wanted in _wanted(follow):
            stream = streams[wanted.folder, wanted.stream] = self._streams.get(
                (wanted.folder, wanted.stream)
            ) or _Stream(wanted)
            stream.wanted = wanted
        self._streams = streams

    def wake(self) -> None:
        """Look at all of them as soon as may be."""
        for stream in self._streams.values():
            stream.next_look_s = min(stream.next_look_s, stream.next_look_s - stream.rest_s + _LEAST_REST_S)

    def parts(self, folders: dict[str, SpoolFolder]) -> Iterator[Part]:
        """Yield what is new, read with the rights of the owners of the jobs' folders."""
        now_s = time.monotonic()
        if not any(now_s >= stream.next_look_s for stream in self._streams.values()):
            return
        # Whose turn is soon is read with those whose turn it is: a look at many costs hardly more than one.
        due = [one for one in self._streams.values() if now_s >= one.next_look_s - (one.rest_s - _LEAST_REST_S) / 2]
        for stream in due:
            stream.rest(now_s)
        for piece in self._reader.read(_as_owner(stream.wanted, folders) for stream in due):
            if self._streams[piece.wanted.folder, piece.wanted.stream].take(piece, now_s):
                yield _part(piece)


def _as_owner(wanted: Wanted, folders: dict[str, SpoolFolder]) -> Wanted:
    folder = folders.get(wanted.folder)
    return wanted if folder is None else wanted._replace(uid=folder.uid)


def _part(piece: Piece) -> Part:
    wanted = piece.wanted
    says = {"type": "log", "folder": wanted.folder, "stream": wanted.stream, "offset": piece.offset}
    if piece.error is not None:
        return Part({**says, "error": piece.error}, b"")
    return Part(
        {**says, "after": wanted.offset, "anew": piece.anew, "file": piece.file, "eof": piece.eof}, piece.content
    )


def _wanted(follow: Any) -> Iterator[Wanted]:
    for one in follow if isinstance(follow, list) else []:
        if not isinstance(one, dict):
            continue
        path, offset, uid, keep = one.get("path"), one.get("offset"), one.get("uid"), one.get("keep")
        if isinstance(path, str) and path.startswith("/") and type(offset) is int and type(uid) is int:
            kept = keep if type(keep) is int and keep > 0 else MOST_BEHIND_BYTES
            file = one.get("file") if isinstance(one.get("file"), str) else None
            yield Wanted(str(one.get("folder")), str(one.get("stream")), path, uid, offset, kept, file)
