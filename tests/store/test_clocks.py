"""Clocks of nodes: noted by many servers at once."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone

import pytest

from tracker.store import clocks
from tracker.store.clocks import NOTED_EVERY, Measured
from tracker.store.database import Database

NODES = [f"n{number:03}" for number in range(200)]
NOW = datetime.now(timezone.utc)


def _measured(nodes: Sequence[str], turn: int) -> list[Measured]:
    return [Measured("dev", node, timedelta(0), NOW + 2 * turn * NOTED_EVERY) for node in nodes]


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_servers_that_note_the_same_clocks_in_any_order_do_not_wait_for_each_other_in_a_circle(db: Database) -> None:
    with db.write() as session:
        clocks.behind(session, _measured(NODES, 0))

    def note(nodes: Sequence[str]) -> None:
        for turn in range(1, 40):
            with db.by_key() as connection:
                clocks.steady(connection, _measured(nodes, turn))

    def note_the_other_way(nodes: Sequence[str]) -> None:
        for turn in range(1, 40):
            with db.write() as session:
                clocks.behind(session, _measured(nodes, turn))

    with ThreadPoolExecutor(3) as servers:
        servings = [servers.submit(note, NODES), servers.submit(note, NODES[::-1])]
        servings.append(servers.submit(note_the_other_way, NODES[::-1]))
    for one in servings:
        one.result()
