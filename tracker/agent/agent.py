"""One round of the agent: collect what is new, send it in one request, act on the answer."""

from __future__ import annotations

import heapq
import random
import sys
import time
from operator import attrgetter
from typing import Any, Iterable, Mapping, NamedTuple

from tracker.agent.backlog import DEFAULT_LIMIT_BYTES, Backlog, Part
from tracker.agent.follow import Followed
from tracker.agent.hardware.hardware import Hardware
from tracker.agent.hook_events import HookEvents
from tracker.agent.job_tokens import JobTokens
from tracker.agent.server import Server, Unreachable
from tracker.agent.spool import JobSpools, SpoolFolder
from tracker.agent.told import Told
from tracker.events import PROTOCOL_VERSION, encode_request

MOST_PARTS_BYTES = 4 * 1024 * 1024
MOST_EVENTS = 200
MOST_NAMED = 1000  # folders, in one request
_HEARTBEAT_S = 10.0
_WATCHFUL_HEARTBEAT_S = 1.0  # while something happens
_REST = 1 / 5  # of the time in which nothing happened passes until the server is asked again
TRUST_S = 600.0  # after which the server is asked again what it has, should its data be those of a backup
_TOO_MUCH = (0, 413, 502, 504)  # 0 and a proxy's words for no answer in time: perhaps it was too much at once


class Who(NamedTuple):
    """Who this agent is. `shared`: it sees the spool of a shared home, not that of one node."""

    node: str
    cluster: str | None
    shared: bool


class Copy(NamedTuple):
    """A spool that was copied here, or a part of one; its jobs are those of `user`, or of whom they belong to."""

    spools: JobSpools
    events: HookEvents
    user: str | None


class Agent:
    """Ships one spool."""

    def __init__(
        self,
        root: str,
        who: Who,
        server: Server,
        *,
        sample_every_s: float = 0,
        gpu_files: list[list[str]] | None = None,
        limit_bytes: int = DEFAULT_LIMIT_BYTES,
        copy: Copy | None = None,
        gives_tokens: bool = False,
    ) -> None:
        """Take what to ship and where to; `sample_every_s` of 0 is for no samples of the hardware.

        Of one job about `limit_bytes` are shipped. A `copy` of a spool stays as it is: nothing in it is removed or
        written. With `gives_tokens` each job gets a token of its own into its folder.
        """
        self._who = who
        self.server = server
        self.refused: dict[str, str] = {}
        self._is_copy = copy is not None
        self._events = copy.events if copy else HookEvents(root)
        self._spools = copy.spools if copy else JobSpools(root)
        self._backlog = Backlog(self._spools, copy.user if copy else None, limit_bytes)
        table = f"{root}/gpus.json"
        self._hardware = Hardware(self._spools, who.node, who.shared, sample_every_s, gpu_files, table, say)
        self._followed = Followed()
        self._told = Told(self._spools)
        self._job_tokens = JobTokens(self._spools) if gives_tokens else None
        self._room_bytes = MOST_PARTS_BYTES
        self._trusted_until_s = time.monotonic() + TRUST_S
        self._asked_s = 0.0
        self._known: set[str] = set()
        self._news_s = 0.0

    def round(self) -> bool:
        """Ship what is new; True when there is more. Raises Unreachable, after which nothing is lost or forgotten."""
        self._backlog.look()
        if time.monotonic() >= self._trusted_until_s:
            self._backlog.doubt()
            self._trusted_until_s = time.monotonic() + TRUST_S
        for sentence in self._backlog.oddities():
            say(sentence)
        folders = self._backlog.folders
        self._hardware.look(folders)
        parts = list(self._collect(folders))
        due_s = self._asked_s + self._heartbeat_s(any(map(self._is_news, parts)), set(folders))
        if not parts and not self._backlog.is_asking() and time.monotonic() < due_s:
            return False
        drained = self._backlog.drained()
        announced = random.sample(drained, min(len(drained), MOST_NAMED))  # of too many each has its chance
        wanted = self._job_tokens.asks(folders) if self._job_tokens else {}
        answer = self._send(parts, announced, wanted)
        self._asked_s = time.monotonic()
        sent_bytes = sum(len(part.content) for part in parts)
        if sent_bytes >= self._room_bytes // 2:  # a small request tells nothing about large ones
            self._room_bytes = min(MOST_PARTS_BYTES, self._room_bytes * 5 // 4)
        both = zip(parts, answer["parts"])
        settled_events = sum(self._took(part, said if isinstance(said, dict) else {}) for part, said in both)
        self._hardware.learn(answer.get("gpus"))
        self._told.pass_on(answer.get("tell"), folders)
        if self._job_tokens:
            self._job_tokens.pass_on(answer.get("tokens"), folders)
        self._followed.wish(answer.get("follow"))
        for name in self._backlog.released(_texts(answer.get("release")), announced):
            say(f"{name}: the server has all of it, removed")
        more_events = settled_events >= MOST_EVENTS or (settled_events > 0 and self._events.is_waiting())
        return more_events or self._backlog.is_waiting() or self._backlog.is_asking()

    def look_around(self) -> None:
        """Tell when another agent ships this spool. It stays harmless: a fact is stored once, whoever brings it."""
        if not self._spools.is_mine_alone():
            say("another agent ships this spool, too: nothing is lost or doubled by that, and one is enough")

    def progress(self) -> tuple[int, int]:
        """Return how many bytes of all files the server has, and how many there are."""
        return self._backlog.progress()

    def is_drained(self) -> bool:
        """Say whether the server has everything."""
        return not self._events.is_waiting() and self._backlog.is_drained()

    def _heartbeat_s(self, has_news: bool, folders: set[str]) -> float:
        now_s = time.monotonic()
        if has_news or folders != self._known:
            self._known, self._news_s = folders, now_s
        rest_s = (now_s - self._news_s) * _REST
        return min(_HEARTBEAT_S, max(_WATCHFUL_HEARTBEAT_S, rest_s))

    def _is_news(self, part: Part) -> bool:
        """Say whether a part tells that something happens: a sample does not, nor that an output is silent."""
        return not self._hardware.is_mine(part) and (part.says["type"] != "log" or bool(part.content))

    def close(self) -> None:
        """End what runs beside the agent."""
        self._hardware.close()

    def _collect(self, folders: dict[str, SpoolFolder]) -> Iterable[Part]:
        """Yield the parts of a request: hooks first, so that the server knows the jobs."""
        for event in self._events.oldest(MOST_EVENTS):
            self._hardware.hook(event.content)
            self._backlog.wake()  # a job begins or ends
            self._followed.wake()
            yield Part({"type": "hook", "name": event.name, "time": event.time_s}, event.content)
        yield from self._backlog.parts(self._room_bytes)
        yield from self._hardware.parts(self._room_bytes // 4)
        yield from self._backlog.gone()
        yield from self._backlog.left_out()
        yield from self._followed.parts(folders)

    def _send(self, parts: list[Part], announced: list[str], wanted: Mapping[str, str]) -> dict[str, Any]:
        manifest = {
            "version": PROTOCOL_VERSION,
            "agent": {**self._who._asdict(), "time": time.time()},
            "folders": [] if self._is_copy else announced,
            "gpus_of": self._hardware.asks(),
            "present": [] if self._is_copy else self._present(),
            "tokens_of": wanted,
            "parts": [{**part.says, "length": len(part.content)} for part in parts],
        }
        try:
            answer = self.server.ingest(encode_request(manifest, (part.content for part in parts)))
        except Unreachable as problem:
            if problem.status in _TOO_MUCH:
                self._room_bytes = max(64 * 1024, self._room_bytes // 2)
            if problem.status == 0 or problem.status >= 500:
                self._backlog.doubt()
            raise
        if not isinstance(answer.get("parts"), list) or len(answer["parts"]) != len(parts):
            raise Unreachable("the server answered to other parts than were sent")
        return answer

    def _present(self) -> list[str]:
        """The jobs that are told something; of too many those in which something was written last."""
        folders = [folder for folder in self._backlog.folders.values() if not folder.name.startswith("local.")]
        return [folder.name for folder in heapq.nlargest(MOST_NAMED, folders, key=attrgetter("written_s"))]

    def _took(self, part: Part, answer: dict[str, Any]) -> bool:
        """Act on the answer to a part. True when it was an event that is out of the way now."""
        error = answer.get("error")
        name = part.says.get("name") or part.says["folder"]
        if error is not None:
            if self.refused.get(name) != _short(error):
                say(f"{name}: the server cannot use this {part.says['type']} part: {_short(error)}")
            if len(self.refused) < MOST_NAMED:
                self.refused[name] = _short(error)
        if self._hardware.is_mine(part):
            self._hardware.took(part, answer)
        elif part.says["type"] in ("lines", "gone", "left_out"):
            self._backlog.took(part, answer)
        if part.says["type"] != "hook" or (error is None and answer.get("stored") is not True):
            return False
        if error is None:
            self._events.remove(name)
        else:
            self._events.reject(name)
        return True


def say(message: str) -> None:
    """Tell the administrator, on stderr, in one line without the codes of terminals."""
    seen = "".join(one if one.isprintable() else "?" for one in message)
    sys.stderr.write(f"tracker agent: {seen}\n")
    sys.stderr.flush()


def _texts(value: Any) -> list[str]:
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else []


def _short(error: Any) -> str:
    return str(error.get("detail") if isinstance(error, dict) else error)[:300]
