"""A server of docs/protocol.md that keeps all in memory and fails as a test wishes."""

from __future__ import annotations

import gzip
import json
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tracker.events import decode_request

Fault = Callable[["Handler"], None]


class FaultyServer:
    """What arrived, and what to answer. `faults` befall the next requests, one each; an empty one is a good day."""

    def __init__(self) -> None:
        self.files: dict[tuple[str, str], bytes] = {}
        self.users: dict[str, tuple[int, str | None]] = {}
        self.hooks: list[tuple[str, bytes]] = []
        self.logs: dict[tuple[str, str], bytes] = {}
        self.log_parts: list[dict[str, Any]] = []
        self.gone: list[str] = []
        self.left_out: dict[str, int] = {}
        self.drained: list[str] = []
        self.manifests: list[dict[str, Any]] = []
        self.tokens: list[str | None] = []
        self.follow: list[dict[str, Any]] = []
        self.release: set[str] = set()
        self.tell: list[Any] = []
        self.unusable: set[str] = set()
        self.gpus: dict[str, list[int]] = {}
        self.job_tokens: dict[str, str] = {}
        self.faults: deque[Fault | None] = deque()
        self.url = ""
        self._lock = threading.Lock()

    def steps(self, folder: str) -> list[int]:
        """Steps of all points of a folder, in the order of its files."""
        lines = [line for (name, _), raw in sorted(self.files.items()) if name == folder for line in raw.split(b"\n")]
        return [message["step"] for message in map(json.loads, filter(None, lines)) if "metrics" in message]

    def take(self, body: bytes) -> dict[str, Any]:
        """Store a request once and answer it."""
        manifest, blobs = decode_request(body)
        with self._lock:
            self.manifests.append(manifest)
            self.drained = manifest["folders"]
            answers = [self._part(part, blob) for part, blob in zip(manifest["parts"], blobs, strict=True)]
            release = [name for name in manifest["folders"] if name in self.release]
            gpus = {name: self.gpus[name] for name in manifest["gpus_of"] if name in self.gpus}
            tokens = {name: self.job_tokens[name] for name in manifest["tokens_of"] if name in self.job_tokens}
            told = {"parts": answers, "follow": self.follow, "release": release, "gpus": gpus, "tell": self.tell}
            return {**told, "tokens": tokens}

    def _part(self, part: dict[str, Any], blob: bytes) -> dict[str, Any]:
        if (part.get("folder") or part.get("name")) in self.unusable:
            return {"error": {"code": "bad_input", "detail": "no use for it"}}
        if part["type"] == "lines":
            file = (part["folder"], part["writer"])
            self.users[part["folder"]] = (part["uid"], part["user"])
            held = self.files.setdefault(file, b"")
            if part["offset"] == len(held):
                self.files[file] = held + blob
            return {"offset": len(self.files[file])}
        if part["type"] == "hook":
            if (part["name"], blob) not in self.hooks:
                self.hooks.append((part["name"], blob))
        elif part["type"] == "log":
            self.log_parts.append(part)
            self.logs[part["folder"], part["stream"]] = blob
            for one in self.follow:
                if (one["folder"], one["stream"]) == (part["folder"], part["stream"]):
                    one["offset"] = part["offset"] + len(blob)
        elif part["type"] == "left_out":
            self.left_out[part["folder"]] = part["left_bytes"]
        elif part["type"] == "gone":
            self.gone.append(part["folder"])
        return {"stored": True}


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server: Any

    def setup(self) -> None:
        self.request.settimeout(60)
        super().setup()

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers["Content-Length"]))
        self.body = gzip.decompress(raw) if self.headers.get("Content-Encoding") == "gzip" else raw
        assert self.path == "/base/api/v1/ingest"
        faulty: FaultyServer = self.server.faulty
        faulty.tokens.append(self.headers.get("Authorization"))
        fault = faulty.faults.popleft() if faulty.faults else None
        try:
            if fault:
                fault(self)
            else:
                self.answer(200, json.dumps(faulty.take(self.body)).encode())
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


def answers_500(handler: Handler) -> None:
    handler.answer(500, b'{"detail":"the database is away"}')


def says_too_large(handler: Handler) -> None:
    handler.answer(413, b"{}")


def answers_garbage(handler: Handler) -> None:
    handler.answer(200, b"<html>Please log in</html>")


def answers_nothing_about_parts(handler: Handler) -> None:
    handler.answer(200, b'{"parts":[],"follow":7,"release":{"a":1}}')


def drops_before_storing(handler: Handler) -> None:
    handler.close_connection = True
    handler.connection.close()


def stores_and_drops(handler: Handler) -> None:
    handler.server.faulty.take(handler.body)
    drops_before_storing(handler)


def stores_and_answers_500(handler: Handler) -> None:
    handler.server.faulty.take(handler.body)
    answers_500(handler)


def drops_in_the_midst_of_the_answer(handler: Handler) -> None:
    answer = json.dumps(handler.server.faulty.take(handler.body)).encode()
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(answer)))
    handler.end_headers()
    handler.wfile.write(answer[: len(answer) // 2])
    handler.wfile.flush()
    drops_before_storing(handler)


def hangs(handler: Handler) -> None:
    time.sleep(60)


def dribbles(handler: Handler) -> None:
    for byte in b"HTTP/1.1 200 OK\r\nX: " + b"x" * 600:
        handler.connection.sendall(bytes([byte]))
        time.sleep(0.1)


@contextmanager
def serving(faulty: FaultyServer, port: int = 0) -> Iterator[None]:
    """Serve on 127.0.0.1 while in the block; `faulty.url` says where."""
    http = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    http.daemon_threads, http.block_on_close = True, False
    http.faulty = faulty  # type: ignore[attr-defined]
    faulty.url = f"http://127.0.0.1:{http.server_address[1]}/base"
    thread = threading.Thread(target=http.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield
    http.shutdown()
    http.server_close()
    thread.join()
