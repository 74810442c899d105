"""Samples in memory, sent by offset: once each, bounded, and never in the way of a folder's end."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tracker.agent.backlog import Part
from tracker.agent.hardware import files
from tracker.agent.hardware.files import SampleFiles


class Server:
    """Keeps what it gets at an offset that fits."""

    def __init__(self) -> None:
        self.held: dict[str, bytes] = {}

    def take(self, part: Part) -> dict[str, Any]:
        held = self.held.get(part.says["writer"], b"")
        if part.says["offset"] == len(held):
            held += part.content
        self.held[part.says["writer"]] = held
        return {"offset": len(held)}

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for raw in self.held.values() for line in raw.splitlines()]

    def values(self) -> list[float]:
        return [line["metrics"]["a"] for line in self.lines() if "metrics" in line]


def sample(value: int) -> dict[str, Any]:
    return {"metrics": {"a": value}, "time": 1e9 + value}


def ship(kept: SampleFiles, server: Server, *, loses: str = "") -> None:
    for part in kept.parts(1_000_000):
        if loses != "request":
            answer = server.take(part)
            if loses != "answer":
                kept.took(part, answer)


def test_lines_reach_the_server_once_whatever_gets_lost_on_the_way() -> None:
    kept, server = SampleFiles("n1"), Server()
    for value, loses in enumerate(["", "request", "answer", "answer", "request", ""]):
        kept.add("dev.12", 0, sample(value))
        ship(kept, server, loses=loses)
    ship(kept, server)
    assert server.values() == [0, 1, 2, 3, 4, 5]
    assert not kept.is_waiting()
    assert server.lines()[0] == {"event": "writer", "version": 1, "kind": "machine", "node": "n1", "time": 1e9}


def test_a_server_that_was_away_too_long_misses_the_newest_and_is_told_how_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(files, "MOST_BYTES", 1000)
    kept, server = SampleFiles("n1"), Server()
    for value in range(100):
        kept.add("dev.12", 0, sample(value))
    ship(kept, server)
    kept.add("dev.12", 0, sample(100))
    ship(kept, server)
    values = server.values()
    had = len(values) - 1
    assert values == [*range(had), 100]
    notes = [line for line in server.lines() if line.get("event") == "note"]
    assert [(note["key"], note["reason"]) for note in notes] == [
        ("hardware of n1", f"{100 - had} samples were not kept: the server was away for too long")
    ]


def test_a_server_that_was_restored_gets_a_new_file() -> None:
    kept, server = SampleFiles("n1"), Server()
    kept.add("dev.12", 0, sample(1))
    ship(kept, server)
    server.held.clear()
    for value in (2, 3, 4):
        kept.add("dev.12", 0, sample(value))
        ship(kept, server)
    assert [line.get("kind") for line in server.lines()] == ["machine", None, None, None]
    assert server.values() == [2, 3, 4]


def test_what_the_server_cannot_use_is_left_alone() -> None:
    kept = SampleFiles("n1")
    kept.add("dev.12", 0, sample(1))
    (part,) = kept.parts(1000)
    kept.took(part, {"error": {"code": "bad_input"}})
    assert list(kept.parts(1000)) == []


def test_the_last_samples_are_sent_when_the_folder_is_gone() -> None:
    kept, server = SampleFiles("n1"), Server()
    kept.add("dev.12", 0, sample(1))
    kept.forget(set())
    ship(kept, server)
    assert server.values() == [1]
    kept.forget(set())
    assert list(kept.parts(1000)) == []
