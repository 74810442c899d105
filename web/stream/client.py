"""One who listens to the stream: a connection that was taken over from the server that accepted it."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator
from datetime import datetime

from tracker.store.identity import Identity

MOST_PENDING_BYTES = 256 * 1024
"""Of a client that reads too slowly; it is let go then, comes back and is told what it missed."""


class Client:
    """A connection with an answer half said, to which events are added. It never waits."""

    def __init__(
        self, connection: socket.socket, viewer: Identity, *, chunked: bool, away_since: datetime | None
    ) -> None:
        connection.setblocking(False)
        self.connection = connection
        self.viewer = viewer
        self.away_since = away_since
        self.since_s = time.monotonic()
        self._chunked = chunked
        self._pending = bytearray()

    def fileno(self) -> int:
        """The descriptor to wait for."""
        return self.connection.fileno()

    @property
    def waits(self) -> bool:
        """Whether something is left to be sent."""
        return bool(self._pending)

    def send(self, text: bytes) -> bool:
        """Send as much as goes out now, keep the rest; answer whether the client is still there."""
        if text:
            self._pending += b"%x\r\n%b\r\n" % (len(text), text) if self._chunked else text
        try:
            while self._pending:
                del self._pending[: self.connection.send(self._pending)]
        except BlockingIOError:
            return len(self._pending) <= MOST_PENDING_BYTES
        except OSError:
            return False
        return True

    def is_there(self) -> bool:
        """Whether the connection is open, asked when it is readable: clients of a stream say nothing more."""
        try:
            return bool(self.connection.recv(4096))
        except BlockingIOError:
            return True
        except OSError:
            return False

    def close(self) -> None:
        """End the answer, if all of what was begun is said."""
        if self._chunked and not self._pending:
            self._pending += b"0\r\n\r\n"
            self.send(b"")
        self.connection.close()


def take_over(
    accepted: socket.socket, keep: Callable[[socket.socket], None], left: list[socket.socket]
) -> Iterator[bytes]:
    """An answer's body: when its first piece is out, `keep` gets the connection, and the server's thread is free.

    The server goes on with a connection that leads nowhere; its other end is put into `left`, to be closed in the end.
    """
    yield b": tracker\n\n"
    connection = socket.socket(fileno=os.dup(accepted.fileno()))
    nowhere, other = socket.socketpair()
    left.append(other)
    os.dup2(nowhere.fileno(), accepted.fileno())
    nowhere.close()
    keep(connection)
