"""Samples as files of lines in memory, sent by offset like those on disk, so that each is stored once."""

from __future__ import annotations

import json
import os
import re
import time
from typing import Any, Iterator

from tracker.agent.backlog import Part, user_name

MOST_BYTES = 1024 * 1024  # of one job: some hours of samples
MOST_BYTES_OF_ALL = 8 * 1024 * 1024
_MOST_PART_BYTES = 256 * 1024
_LEFT_ALONE_S = 600.0
_KEPT_S = 3600.0  # after the last sample of a job whose folder is gone


class _File:
    def __init__(self, uid: int, node: str, time_s: float) -> None:
        self.uid = uid
        self._node = node
        self._header = {"event": "writer", "version": 1, "kind": "machine", "node": node, "time": time_s}
        self.lines = bytearray()
        self.begin()
        self.dropped = 0
        self.not_before_s = 0.0
        self.written_s = 0.0

    def begin(self) -> None:
        """Begin a file of a new name with the lines that are here."""
        self.writer = f"machine-{re.sub('[^A-Za-z0-9_-]', '-', self._node)[:40]}-{os.urandom(6).hex()}"
        self.start = 0  # the offset of the first byte that is still here
        self.lines[:0] = _encoded(self._header)


class SampleFiles:
    """A file per job folder. What the server has is forgotten; without room the newest samples are dropped."""

    def __init__(self, node: str) -> None:
        self._node = node
        self._files: dict[str, _File] = {}

    def add(self, folder: str, uid: int, line: dict[str, Any]) -> None:
        """Append a line to a job's file, or count it as dropped."""
        file = self._files.get(folder)
        if file is None:
            file = self._files[folder] = _File(uid, self._node, line["time"])
        file.written_s = time.monotonic()
        if file.dropped:
            reason = f"{file.dropped} samples were not kept: the server was away for too long"
            note = {"event": "note", "key": f"hardware of {self._node}", "reason": reason, "time": line["time"]}
            raw = _encoded(note) + _encoded(line)
        else:
            raw = _encoded(line)
        if len(file.lines) + len(raw) > MOST_BYTES or self._size() + len(raw) > MOST_BYTES_OF_ALL:
            file.dropped += 1
            return
        file.lines += raw
        file.dropped = 0

    def parts(self, room_bytes: int) -> Iterator[Part]:
        """Yield lines that the server lacks."""
        now_s = time.monotonic()
        for folder, file in self._files.items():
            content = bytes(file.lines[: min(_MOST_PART_BYTES, room_bytes)])
            content = content[: content.rfind(b"\n") + 1]
            if not content or now_s < file.not_before_s:
                continue
            room_bytes -= len(content)
            says = {"type": "lines", "folder": folder, "writer": file.writer, "offset": file.start, "own": True}
            yield Part({**says, "uid": file.uid, "user": user_name(file.uid)}, content)

    def is_mine(self, part: Part) -> bool:
        """Say whether the part came from here."""
        file = self._files.get(str(part.says.get("folder")))
        return file is not None and part.says.get("writer") == file.writer

    def took(self, part: Part, answer: dict[str, Any]) -> None:
        """Learn from the server's answer to a part."""
        file = self._files[part.says["folder"]]
        held = answer.get("offset")
        if type(held) is not int:
            file.not_before_s = time.monotonic() + _LEFT_ALONE_S  # the server cannot use this file, now at least
        elif file.start <= held <= file.start + len(file.lines):
            del file.lines[: held - file.start]
            file.start = held
        else:
            file.begin()  # the server forgot what it had, as after a restore

    def forget(self, present: set[str]) -> None:
        """Forget the files of folders that are not present any more and of which the server has all."""
        now_s = time.monotonic()
        for folder in [folder for folder in self._files if folder not in present]:
            file = self._files[folder]
            if not file.lines or now_s > file.written_s + _KEPT_S:
                del self._files[folder]

    def is_waiting(self) -> bool:
        """Say whether there is something to send."""
        return any(file.lines for file in self._files.values())

    def _size(self) -> int:
        return sum(len(file.lines) for file in self._files.values())


def _encoded(line: dict[str, Any]) -> bytes:
    return json.dumps(line, separators=(",", ":")).encode() + b"\n"
