"""The connection to the server: one kept open, bounded in time whatever the other side does."""

from __future__ import annotations

import gzip
import http.client
import json
import socket
import ssl
import threading
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

from tracker.client.keys import Way
from tracker.client.munge import MungeLogin
from tracker.errors import BadInput, TrackerError
from tracker.events import INGEST_TYPE

CONNECT_TIMEOUT_S = 5
ANSWER_TIMEOUT_S = 30
EXCHANGE_TIMEOUT_S = 90  # of a whole request, so that a server that dribbles bytes cannot hold the agent
MOST_ANSWER_BYTES = 8 * 1024 * 1024
_WORTH_GZIP_BYTES = 1024


class Unreachable(Exception):
    """No usable answer. `status` is the server's, 0 without one; it is right to try again."""

    def __init__(self, what: str, status: int = 0) -> None:
        super().__init__(what)
        self.status = status


class Server:
    """Where ingest requests go."""

    def __init__(self, url: str, key: Way) -> None:
        """Take the server's address and what is shown it. Raises BadInput for what is no address."""
        parts = urlsplit(url)
        try:
            port = parts.port
        except ValueError:
            port = -1
        if parts.scheme not in ("http", "https") or not parts.hostname or port == -1:
            raise BadInput(f"{url!r} is no server's address: give one such as https://tracker.example.org")
        self.url = url
        self._path = parts.path.rstrip("/") + "/api/v1/ingest"
        self._key = key
        self.is_by_munge = isinstance(key, MungeLogin)
        self._connection: http.client.HTTPConnection
        if parts.scheme == "https":
            context = ssl.create_default_context()
            self._connection = http.client.HTTPSConnection(
                parts.hostname, port, timeout=CONNECT_TIMEOUT_S, context=context
            )
        else:
            self._connection = http.client.HTTPConnection(parts.hostname, port, timeout=CONNECT_TIMEOUT_S)

    def ingest(self, body: bytes) -> dict[str, Any]:
        """Send a request and return the answer. Raises Unreachable."""
        watchdog = threading.Timer(EXCHANGE_TIMEOUT_S, self.abort)
        watchdog.daemon = True
        watchdog.start()
        try:
            status, answer = self._exchange(body)
        except (OSError, http.client.HTTPException, ValueError) as problem:
            self._connection.close()
            raise Unreachable(f"{type(problem).__name__}: {problem}") from problem
        except TrackerError as problem:  # no key is to be had now
            raise Unreachable(str(problem), problem.status) from problem
        finally:
            watchdog.cancel()
            watchdog.join()  # outputs are read by a fork, which wants no second thread
        if status == 401:
            self._key.forget()
        if status != 200:
            raise Unreachable(f"the server answered {status}: {_detail(answer)}", status)
        try:
            decoded = json.loads(answer)
        except (ValueError, RecursionError):
            decoded = None
        if not isinstance(decoded, dict):
            self._connection.close()
            raise Unreachable("the server answered something that is no JSON object: is there a proxy in between?")
        return decoded

    def abort(self) -> None:
        """Break the request that is under way, from another thread or a signal handler."""
        sock = self._connection.sock
        if sock is not None:
            with suppress(OSError):  # it broke by itself
                sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _exchange(self, body: bytes) -> tuple[int, bytes]:
        headers = {"Content-Type": INGEST_TYPE, "User-Agent": "tracker-agent"}
        token = self._key.token()
        if token:
            headers["Authorization"] = f"Bearer {token}"
        packed = gzip.compress(body, 1) if len(body) > _WORTH_GZIP_BYTES else body
        if len(packed) < len(body):
            headers["Content-Encoding"] = "gzip"
            body = packed
        if self._connection.sock is None:
            self._connection.connect()
            sock: socket.socket = self._connection.sock  # type: ignore[assignment]  # typeshed: None, mypy 1 sees the `if`
            sock.settimeout(ANSWER_TIMEOUT_S)
        self._connection.request("POST", self._path, body, headers)
        response = self._connection.getresponse()
        answer = response.read(MOST_ANSWER_BYTES + 1)
        if len(answer) > MOST_ANSWER_BYTES:
            raise ValueError("the answer is too long")
        return response.status, answer


def _detail(answer: bytes) -> str:
    try:
        return str(json.loads(answer)["detail"])[:300]
    except (ValueError, KeyError, TypeError, RecursionError):
        return answer[:100].decode("ascii", "replace")
