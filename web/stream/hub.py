"""Feeds all clients of this process, in one thread that is there as long as somebody listens."""

from __future__ import annotations

import logging
import os
import selectors
import threading
import time
from collections import Counter
from contextlib import suppress

from tracker.errors import DatabaseUnavailable, Unavailable
from tracker.store.database import Database
from tracker.store.notices import AT_MOST_EVERY_S, Listener
from web.stream.client import Client
from web.stream.watch import Watch, greeting, missed

log = logging.getLogger("tracker.stream")

LOOK_EVERY_S = 1.0
"""Without a database that tells of changes."""
LOOK_ANYWAY_S = 5.0
BEAT_EVERY_S = 15.0
BEAT = b"event: beat\ndata: {}\n\n"
"""For a page: a comment would keep its connection, and never tell it that there is one."""
LONGEST_S = 3600.0
"""After this a client must show its token again."""
_SOON_S = AT_MOST_EVERY_S + 0.05
_LOOK_SHARE = 0.1
"""Of the thread's time."""


class Hub:
    """Who listens, and the thread that feeds them."""

    def __init__(self, db: Database, most_clients: int) -> None:
        self._db = db
        self._most = most_clients
        self._lock = threading.Lock()
        self._places: Counter[str] = Counter()  # by user
        self._fresh: list[Client] = []
        self._running = False
        self._woken, self._wake = -1, -1

    def reserve(self, user: str) -> None:
        """Take a place for a client. Raises Unavailable when all are taken, or too many by this user."""
        with self._lock:
            if self._places.total() >= self._most or self._places[user] >= max(1, self._most // 4):
                raise Unavailable("This server feeds as many streams as it can; ask again later, or ask for `/runs`.")
            self._places[user] += 1

    def free(self, user: str) -> None:
        """Give a place back."""
        with self._lock:
            self._places[user] -= 1
            self._places += Counter()  # forget who has none

    def add(self, client: Client) -> None:
        """Feed a client from now on; its place is reserved."""
        with self._lock:
            self._fresh.append(client)
            if not self._running:
                self._running = True
                self._woken, self._wake = os.pipe()
                threading.Thread(target=self._run, name="stream", daemon=True).start()
            else:
                os.write(self._wake, b"x")

    def _run(self) -> None:
        """The outermost place of the thread: whatever happens, it is told, and no client waits for nothing."""
        while True:
            round_ = _Round(self, self._db, self._woken)
            try:
                round_.feed()
            except DatabaseUnavailable as problem:
                log.warning("the stream was broken off: %s", problem)
            except Exception:
                log.exception("the stream was broken off")
            round_.close()
            with self._lock:
                if not self._fresh:
                    self._running = False
                    os.close(self._woken)
                    os.close(self._wake)
                    return

    def newcomers(self) -> list[Client]:
        """Clients that were added since this was asked last."""
        with self._lock:
            fresh, self._fresh = self._fresh, []
        return fresh


class _Round:
    """From the first client until there is none."""

    def __init__(self, hub: Hub, db: Database, woken: int) -> None:
        self._hub = hub
        self._db = db
        self._clients: set[Client] = set()
        self._listener: Listener | None = None
        self._selector = selectors.DefaultSelector()
        self._selector.register(woken, selectors.EVENT_READ, None)
        self._look_at_s = self._beat_at_s = 0.0

    def feed(self) -> None:
        """Feed clients until there is none. Raises DatabaseUnavailable."""
        newcomers = self._hub.newcomers()
        self._clients.update(newcomers)  # so that they are let go if the first look fails
        self._listener = self._db.listen()
        if self._listener:
            self._selector.register(self._listener, selectors.EVENT_READ, self._listener)
        watch = Watch(self._db)
        now_s = time.monotonic()
        self._look_at_s = now_s + _SOON_S  # for what was told just before we listened
        self._beat_at_s = now_s + BEAT_EVERY_S
        self._admit(newcomers)
        while self._clients:
            self._wait()
            self._admit(self._hub.newcomers())
            if time.monotonic() >= self._look_at_s:
                self._look(watch)
            if time.monotonic() >= self._beat_at_s:
                self._beat()

    def close(self) -> None:
        """Let all go."""
        for client in list(self._clients):
            self._drop(client)
        if self._listener:
            self._listener.close()
        self._selector.close()

    def _pause_s(self) -> float:
        return LOOK_ANYWAY_S if self._listener else LOOK_EVERY_S

    def _wait(self) -> None:
        wait_s = min(self._look_at_s, self._beat_at_s) - time.monotonic()
        for key, ready in self._selector.select(max(0.0, wait_s)):
            if key.data is None:
                os.read(key.fd, 4096)
            elif isinstance(key.data, Listener):
                key.data.hear()
                self._look_at_s = min(self._look_at_s, time.monotonic() + _SOON_S)
            else:
                self._turn_to(key.data, ready)

    def _turn_to(self, client: Client, ready: int) -> None:
        if ready & selectors.EVENT_READ and not client.is_there():
            self._drop(client)
        elif ready & selectors.EVENT_WRITE:
            self._send(client, b"")

    def _admit(self, clients: list[Client]) -> None:
        for client in clients:
            self._clients.add(client)
            self._selector.register(client, selectors.EVENT_READ, client)
            lost = missed(self._db, client.away_since) if client.away_since else []
            self._send(client, greeting() + b"".join(event.text for event in lost if event.is_for(client.viewer)))

    def _look(self, watch: Watch) -> None:
        began_s = time.monotonic()
        events = watch.look()
        if events:
            for client in list(self._clients):
                self._send(client, b"".join(event.text for event in events if event.is_for(client.viewer)))
        ended_s = time.monotonic()
        self._look_at_s = ended_s + max(self._pause_s(), (ended_s - began_s) / _LOOK_SHARE)

    def _beat(self) -> None:
        now_s = time.monotonic()
        self._beat_at_s = now_s + BEAT_EVERY_S
        for client in list(self._clients):
            if now_s - client.since_s > LONGEST_S:
                self._drop(client)
            else:
                self._send(client, BEAT)

    def _send(self, client: Client, text: bytes) -> None:
        if not client.send(text):
            self._drop(client)
            return
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if client.waits else 0)
        if self._selector.get_key(client).events != wanted:
            self._selector.modify(client, wanted, client)

    def _drop(self, client: Client) -> None:
        if client in self._clients:
            self._clients.discard(client)
            with suppress(KeyError):  # not admitted yet
                self._selector.unregister(client)
            client.close()
            self._hub.free(client.viewer.user)
