"""Many nodes that cost little themselves: one process, one plan, bodies that were made beforehand but for few numbers.

They share the processors with the server that is measured: threads and a JSON library would take as much of them as
the server does.
"""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass, field

from bench._servers import Server
from tracker.events import INGEST_TYPE

ANSWER_WITHIN_S = 120
FIRST_STEP = 1_000_000  # so that all lines are equally long
VARIETIES = 64


@dataclass(frozen=True)
class Load:
    """What each node sends every `every_s`: a line of so many metrics for each of its runs, which are jobs."""

    nodes: int
    every_s: float
    runs: int
    metrics: int
    first_job: int

    def jobs_of(self, node: int) -> range:
        """The jobs of a node."""
        first = self.first_job + node * self.runs
        return range(first, first + self.runs)


class Requests:
    """What nodes send, each file going on where the node's last request ended."""

    def __init__(self, server: Server, load: Load) -> None:
        chance, self.load = random.Random(1), load
        self._head = (
            f"POST /api/v1/ingest HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nAuthorization: Bearer {server.agent}\r\n"
            f"Content-Type: {INGEST_TYPE}\r\nContent-Length: %d\r\n\r\n"
        ).encode()
        self._values = [_values(load.metrics, chance) for _ in range(VARIETIES)]
        self._line_bytes = len(self._line(0, 0, time.time()))
        self._manifests = [self._manifest(node) for node in range(load.nodes)]

    def _manifest(self, node: int) -> bytes:
        folders = [f"bench.{job}" for job in self.load.jobs_of(node)]
        parts = ",".join(
            f'{{"type":"lines","folder":"{folder}","writer":"w{node}","offset":%(offset)d,"uid":1001,"user":"alice",'
            f'"length":{self._line_bytes}}}'
            for folder in folders
        )
        about = f'{{"node":"n{node}","cluster":"bench","shared":false,"time":%(now).6f}}'
        present = ",".join(f'"{folder}"' for folder in folders)
        return f'{{"version":1,"agent":{about},"folders":[],"present":[{present}],"parts":[{parts}]}}\n'.encode()

    def _line(self, variety: int, number: int, now: float) -> bytes:
        return b'{"metrics":{%b},"step":%d,"time":%.6f}\n' % (
            self._values[variety % VARIETIES], FIRST_STEP + number, now,
        )  # fmt: skip

    def request(self, node: int, number: int) -> bytes:
        """The request of a node that comes after `number` others."""
        now = time.time()
        manifest = self._manifests[node] % {b"offset": number * self._line_bytes, b"now": now}
        lines = [self._line(node + run + number, number, now) for run in range(self.load.runs)]
        head = self._head % (len(manifest) + self._line_bytes * self.load.runs)
        return b"".join([head, manifest, *lines])

    def are_held(self, count: int, answer: bytes) -> bool:
        """Whether the server says that it holds all of a node's first so many requests."""
        return answer.count(b'"offset":%d}' % (count * self._line_bytes)) == self.load.runs


def _values(metrics: int, chance: random.Random) -> bytes:
    return ",".join(f'"train/metric_{one}":{chance.uniform(1, 2):.6f}' for one in range(metrics)).encode()


@dataclass
class Swarm:
    """Nodes that each send a request every `every_s`, by a plan that does not wait for answers.

    A request's time counts from the moment at which it was due, so a server that falls behind shows it: `took_s`, in
    the order of the answers. `cpu_s` is what all this took of a processor.
    """

    requests: Requests
    took_s: list[float] = field(default_factory=list)
    cpu_s: float = 0.0

    def __post_init__(self) -> None:
        self._sent = [0] * self.requests.load.nodes

    def run(self, port: int, duration_s: float) -> None:
        """Let the nodes send for so long. Raises LookupError when one is refused or not answered."""
        before_s = time.process_time()
        asyncio.run(self._all(port, duration_s))
        self.cpu_s += time.process_time() - before_s

    async def _all(self, port: int, duration_s: float) -> None:
        chance, every_s = random.Random(1), self.requests.load.every_s
        nodes = [await _Node.connected(port) for _ in self._sent]
        start_s = asyncio.get_running_loop().time() + 0.5
        works = [
            self._send(number, node, start_s + chance.random() * every_s, start_s + duration_s)
            for number, node in enumerate(nodes)
        ]
        try:
            await asyncio.gather(*works)
        finally:
            for node in nodes:
                node.close()

    async def _send(self, number: int, node: _Node, due_s: float, end_s: float) -> None:
        loop = asyncio.get_running_loop()
        while due_s < end_s:
            await asyncio.sleep(due_s - loop.time())
            answer = await node.ask(self.requests.request(number, self._sent[number]))
            self._sent[number] += 1
            if not self.requests.are_held(self._sent[number], answer):
                raise LookupError(f"node {number}: {answer[:500]!r}")
            self.took_s.append(loop.time() - due_s)
            due_s += self.requests.load.every_s


class _Node(asyncio.Protocol):
    """A kept connection to the server."""

    def __init__(self) -> None:
        self._received = b""
        self._answer: asyncio.Future[bytes] | None = None
        self._transport: asyncio.Transport | None = None

    @classmethod
    async def connected(cls, port: int) -> _Node:
        """A new one."""
        _, node = await asyncio.get_running_loop().create_connection(cls, "127.0.0.1", port)
        return node

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio, as the two below."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Put together the answer."""
        self._received += data
        head, mark, body = self._received.partition(b"\r\n\r\n")
        length = head.lower().partition(b"content-length:")[2].partition(b"\r")[0]
        if mark and self._answer and len(body) >= int(length):
            self._received = b""
            self._answer.set_result(head.partition(b"\r")[0] + b" " + body)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell who waits for an answer."""
        if self._answer and not self._answer.done():
            self._answer.set_exception(LookupError(f"the server closed a connection: {exc}"))

    async def ask(self, request: bytes) -> bytes:
        """Send a request; its answer's status line and body. Raises LookupError, TimeoutError."""
        assert self._transport is not None
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await asyncio.wait_for(self._answer, ANSWER_WITHIN_S)

    def close(self) -> None:
        """Let the connection go."""
        assert self._transport is not None
        self._transport.abort()
