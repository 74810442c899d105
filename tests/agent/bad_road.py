"""A proxy between agents and a server that delays, cuts, repeats and loses requests and answers."""

from __future__ import annotations

import http.client
import itertools
import random
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

HOP_BY_HOP = ("connection", "keep-alive", "transfer-encoding", "content-length", "host")


class BadRoad:
    """Every second request or so meets the next fault; `befallen` counts them. `open` it, and all go through."""

    def __init__(self, to_port: int, seed: int) -> None:
        self.to_port = to_port
        self.befallen: Counter[str] = Counter()
        self.is_open = False
        self.under_way = self.lost = 0
        self.url = ""
        chance = random.Random(seed)
        faults = list(FAULTS)
        chance.shuffle(faults)
        self._faults = itertools.cycle([one for fault in faults for one in (None, fault)])
        self._lock = threading.Lock()

    def next_fault(self) -> Fault | None:
        with self._lock:
            fault = None if self.is_open else next(self._faults)
            if fault:
                self.befallen[fault.__name__] += 1
            return fault

    def forward(self, handler: Traveller) -> tuple[int, bytes]:
        """Bring the request to the server; its status and answer. Raises OSError or HTTPException without one."""
        self.under_way += 1
        connection = http.client.HTTPConnection("127.0.0.1", self.to_port, timeout=60)
        try:
            connection.request("POST", handler.path, handler.body, handler.said)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()
            self.under_way -= 1


class Traveller(BaseHTTPRequestHandler):
    """One connection of an agent."""

    protocol_version = "HTTP/1.1"
    server: Any

    def do_POST(self) -> None:
        self.road: BadRoad = self.server.road
        try:
            self.body = self.rfile.read(int(self.headers["Content-Length"]))
            self.said = {key: value for key, value in self.headers.items() if key.lower() not in HOP_BY_HOP}
            fault = self.road.next_fault()
            (fault or goes_through)(self)
        except (OSError, http.client.HTTPException):  # the agent or the server was killed
            self.lose()

    def answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def lose(self) -> None:
        self.close_connection = True
        self.road.lost += 1
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, *_: Any) -> None:
        pass


Fault = Callable[[Traveller], None]


def goes_through(one: Traveller) -> None:
    one.answer(*one.road.forward(one))


def is_refused(one: Traveller) -> None:
    one.lose()


def is_cut_on_its_way(one: Traveller) -> None:
    """The server hears the half of a request."""
    head = "".join(f"{key}: {value}\r\n" for key, value in {**one.said, "Content-Length": len(one.body)}.items())
    with socket.create_connection(("127.0.0.1", one.road.to_port), timeout=5) as half:
        half.sendall(f"POST {one.path} HTTP/1.1\r\nHost: localhost\r\n{head}\r\n".encode())
        half.sendall(one.body[: len(one.body) // 2])
    one.lose()


def loses_its_answer(one: Traveller) -> None:
    one.road.forward(one)
    one.lose()


def gets_half_an_answer(one: Traveller) -> None:
    status, body = one.road.forward(one)
    one.send_response(status)
    one.send_header("Content-Length", str(len(body)))
    one.end_headers()
    one.wfile.write(body[: len(body) // 2])
    one.lose()


def arrives_twice_at_once(one: Traveller) -> None:
    twin = threading.Thread(target=_again, args=(one, 0.0))
    twin.start()
    goes_through(one)
    twin.join()


def arrives_again_later(one: Traveller) -> None:
    threading.Thread(target=_again, args=(one, 1.0), daemon=True).start()
    goes_through(one)


def arrives_after_its_sender_gave_up(one: Traveller) -> None:
    threading.Thread(target=_again, args=(one, 0.5), daemon=True).start()
    one.lose()


def _again(one: Traveller, after_s: float) -> None:
    time.sleep(after_s)
    with suppress(OSError, http.client.HTTPException):
        one.road.forward(one)


def is_slow(one: Traveller) -> None:
    time.sleep(0.7)
    goes_through(one)


def hangs_and_breaks(one: Traveller) -> None:
    one.road.forward(one)
    time.sleep(1.5)
    one.lose()


def is_answered_byte_by_byte(one: Traveller) -> None:
    status, body = one.road.forward(one)
    one.send_response(status)
    one.send_header("Content-Length", str(len(body)))
    one.end_headers()
    for byte in body[:100]:
        one.wfile.write(bytes([byte]))
        time.sleep(0.005)
    one.wfile.write(body[100:])


def is_answered_500(one: Traveller) -> None:
    one.road.forward(one)
    one.answer(500, b"<h1>Internal Server Error</h1>")


def is_answered_garbage(one: Traveller) -> None:
    one.answer(200, b"<html>Please log in to the wireless network</html>")


def is_answered_about_nothing(one: Traveller) -> None:
    one.answer(200, b'{"parts":[],"follow":7,"release":{"a":1}}')


FAULTS: tuple[Fault, ...] = (
    is_refused,
    is_cut_on_its_way,
    loses_its_answer,
    gets_half_an_answer,
    arrives_twice_at_once,
    arrives_again_later,
    arrives_after_its_sender_gave_up,
    is_slow,
    hangs_and_breaks,
    is_answered_byte_by_byte,
    is_answered_500,
    is_answered_garbage,
    is_answered_about_nothing,
)


@contextmanager
def bad_road(to_port: int, seed: int) -> Iterator[BadRoad]:
    """A proxy to that port of this machine while in the block; its `url` is what agents are given."""
    road = BadRoad(to_port, seed)
    proxy = ThreadingHTTPServer(("127.0.0.1", 0), Traveller)
    proxy.daemon_threads, proxy.block_on_close = True, False
    proxy.handle_error = lambda *_: None  # type: ignore[method-assign]  # connections break here, that is the point
    proxy.road = road  # type: ignore[attr-defined]
    road.url = f"http://127.0.0.1:{proxy.server_address[1]}"
    thread = threading.Thread(target=proxy.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield road
    proxy.shutdown()
    proxy.server_close()
    thread.join()
