"""Who only looks is answered from the replica while it is there and up to date, and from the primary otherwise."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest
from flask.testing import FlaskClient

from tests.agent_side import ADMIN, Agent, lines, points
from tests.conftest import wait_until
from tests.postgres import Postgres, Standby
from tracker.errors import BadInput
from tracker.settings import Settings
from tracker.store import replica, runs, tokens
from tracker.store.database import Database
from web import create_app


@pytest.fixture(scope="module")
def pair() -> Iterator[tuple[Postgres, Standby]]:
    """A primary and its standby."""
    primary = Postgres()
    primary.start()
    standby = Standby(primary)
    standby.start()
    yield primary, standby
    standby.remove()
    primary.remove()


@pytest.fixture
def both(pair: tuple[Postgres, Standby], monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    """A database with a replica."""
    monkeypatch.setattr(replica, "LOOK_EVERY_S", 0.05)
    primary, standby = pair
    url = primary.new_database()
    name = url.rpartition("/")[2]
    database = Database(url, f"{standby.url}/{name}", max_lag_s=1)
    database.upgrade()
    with database.lagging.read():
        wait_until(lambda: database.replica and database.replica.usable)
    yield database
    database.close()
    primary.drop(url)


def is_replica(db: Database) -> bool:
    """Whether a read comes from the replica."""
    with db.lagging.read() as session:
        return bool(session.connection().exec_driver_sql("SELECT pg_is_in_recovery()").scalar_one())


def count(db: Database) -> int:
    with db.read() as session:
        return len(runs.find(session, ADMIN).items)


def test_what_is_written_is_read_from_the_replica_a_moment_later(both: Database) -> None:
    Agent(both).send(lines("dev.1", *points(3)))
    assert count(both) == 1
    wait_until(lambda: count(both.lagging) == 1)
    assert is_replica(both)
    with both.read() as session:
        assert not session.connection().exec_driver_sql("SELECT pg_is_in_recovery()").scalar_one()


def test_a_replica_that_is_away_or_hangs_is_not_read(both: Database, pair: tuple[Postgres, Standby]) -> None:
    assert both.replica is not None
    _, standby = pair
    standby.stop(signal.SIGQUIT)
    wait_until(lambda: not both.replica.usable)  # type: ignore[union-attr]
    assert not is_replica(both)
    standby.start()
    wait_until(lambda: is_replica(both))


def test_a_replica_that_is_too_far_behind_is_not_read(both: Database, pair: tuple[Postgres, Standby]) -> None:
    assert both.replica is not None
    _, standby = pair
    standby.execute("SELECT pg_wal_replay_pause()")
    try:
        assert is_replica(both)
        Agent(both).send(lines("dev.1", *points(3)))
        wait_until(lambda: not is_replica(both))
        assert count(both.lagging) == 1
    finally:
        standby.execute("SELECT pg_wal_replay_resume()")
    wait_until(lambda: is_replica(both))


def test_while_the_primary_is_away_the_replica_answers(both: Database, pair: tuple[Postgres, Standby]) -> None:
    primary, _ = pair
    Agent(both).send(lines("dev.1", *points(3)))
    wait_until(lambda: count(both.lagging) == 1)
    primary.stop(signal.SIGQUIT)
    try:
        for _ in range(5):
            assert count(both.lagging) == 1
    finally:
        primary.start()
    wait_until(lambda: is_replica(both))


def test_who_has_just_changed_something_sees_it(both: Database, pair: tuple[Postgres, Standby]) -> None:
    assert both.replica is not None
    both.replica._max_lag_s = 3600
    app = create_app(Settings(database="postgresql:///unused"), both)
    with both.write() as session:
        token = {"Authorization": f"Bearer {tokens.create(session, 'alice', 'user', tokens.API)}"}
    me, other = app.test_client(), app.test_client()

    def names(client: FlaskClient, **headers: str) -> list[str]:
        items = client.get("/api/v1/experiments", headers={**token, **headers}).json["items"]  # type: ignore[index]
        return [one["name"] for one in items]

    wait_until(lambda: is_replica(both))
    pair[1].execute("SELECT pg_wal_replay_pause()")
    try:
        made = me.post("/api/v1/experiments", json={"name": "mine"}, headers=token)
        assert (made.status_code, "tracker_fresh=1;" in made.headers["Set-Cookie"]) == (201, True)
        assert names(me) == ["mine"]
        assert names(other, **{"Cache-Control": "no-cache"}) == ["mine"]
        assert names(other) == []  # the moment before
        answer = other.get("/api/v1/experiments", headers=token)
        assert "Set-Cookie" not in answer.headers
    finally:
        pair[1].execute("SELECT pg_wal_replay_resume()")
    wait_until(lambda: names(other) == ["mine"])


def test_only_postgresql_has_replicas() -> None:
    with pytest.raises(BadInput, match="Only PostgreSQL has replicas"):
        Database("sqlite:////tmp/x.db", "postgresql:///x")
    assert Settings().database_replica == ""
