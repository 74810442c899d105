"""People who look at pages: each keeps `/stream` open and loads a page every few seconds."""

from __future__ import annotations

import asyncio
import multiprocessing
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.sharedctypes import Synchronized

PAGES = ("/cluster", "/api/v1/jobs?limit=50")
PAGE_EVERY_S = 5.0
START = multiprocessing.get_context("spawn")


class Seen:
    """What all of them have got."""

    def __init__(self) -> None:
        self.pages: Synchronized[int] = START.Value("q", 0)
        self.events: Synchronized[int] = START.Value("q", 0)
        self.streams: Synchronized[int] = START.Value("q", 0)


@contextmanager
def browsers(port: int, keys: Sequence[str]) -> Iterator[Seen]:
    """One browser for each key, in a process of their own; a stream that ends is opened again after a second."""
    seen = Seen()
    if not keys:
        yield seen
        return
    process = START.Process(target=_browse, args=(port, list(keys), seen), daemon=True)
    process.start()
    try:
        yield seen
    finally:
        process.terminate()
        process.join()


def _browse(port: int, keys: list[str], seen: Seen) -> None:
    asyncio.run(_all(port, keys, seen))


async def _all(port: int, keys: list[str], seen: Seen) -> None:
    await asyncio.gather(*(one for key in keys for one in (_listen(port, key, seen), _look(port, key, seen))))


async def _listen(port: int, key: str, seen: Seen) -> None:
    while True:
        with suppress(OSError):
            reader, writer = await _ask(port, "/api/v1/stream", key, "keep-alive")
            if b" 200 " in await reader.readline():
                seen.streams.value += 1
                while line := await reader.readline():
                    seen.events.value += line.startswith(b"event:")
                seen.streams.value -= 1
            writer.close()
        await asyncio.sleep(1)


async def _look(port: int, key: str, seen: Seen) -> None:
    await asyncio.sleep(random.uniform(0, PAGE_EVERY_S))
    while True:
        for page in PAGES:
            with suppress(OSError):
                reader, writer = await _ask(port, page, key, "close")
                answer = await reader.read()
                seen.pages.value += b" 200 " in answer[:40]
                writer.close()
        await asyncio.sleep(PAGE_EVERY_S)


async def _ask(port: int, path: str, key: str, connection: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**20)
    head = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {key}\r\nConnection: {connection}\r\n\r\n"
    writer.write(head.encode())
    await writer.drain()
    return reader, writer
