"""Tokens can do what they were made for, for as long as they were made for, and no longer than their origin."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from sqlalchemy import select

from tracker.errors import Forbidden, NotFound
from tracker.store import accounts, refreshes, tokens
from tracker.store.database import Database
from tracker.store.identity import Identity
from tracker.store.tables import Token

HOUR = timedelta(hours=1)


def made(db: Database, purpose: str = tokens.API, **more: object) -> str:
    with db.write() as session:
        return tokens.create(session, "alice", "user", purpose, HOUR, **more)  # type: ignore[arg-type]


def shown(db: Database, secret: str, *purposes: str) -> tokens.Shown | None:
    with db.read() as session:
        return tokens.recognise(session, secret, purposes or tokens.BEARERS)


def test_only_a_hash_is_kept(db: Database) -> None:
    secret = made(db)
    with db.read() as session:
        (token,) = tokens.of_user(session, "alice")
    assert secret not in repr(vars(token))
    assert tokens.id_of(secret) == token.hash[:16]


def test_scopes_are_those_that_were_asked_for(db: Database) -> None:
    told = shown(db, made(db, scopes=["write", "read"]))
    assert told is not None
    assert told.identity == Identity("alice", "user", frozenset({"read", "write"}))


def test_the_last_use_is_kept_roughly(db: Database) -> None:
    secret = made(db)
    first = shown(db, secret)
    assert first is not None and first.use_is_due
    with db.write() as session:
        tokens.note_use(session, first.id)
    again = shown(db, secret)
    assert again is not None and not again.use_is_due


def test_a_session_that_nobody_uses_ends_by_itself(db: Database) -> None:
    secret = made(db, tokens.SESSION)
    assert shown(db, secret, tokens.SESSION)
    with db.write() as session:
        tokens.get(session, tokens.id_of(secret)).last_used_at -= tokens.IDLE_SESSION  # type: ignore[operator]
    assert shown(db, secret, tokens.SESSION) is None
    with db.write() as session:
        tokens.forget_expired(session, datetime.now(timezone.utc))
        with pytest.raises(NotFound):
            tokens.get(session, tokens.id_of(secret))


def test_what_comes_from_a_token_can_do_no_more_and_goes_with_it(db: Database) -> None:
    origin = made(db, scopes=["read", "write"])
    told = shown(db, origin)
    assert told is not None
    with db.write() as session:
        child = tokens.derive(session, told, tokens.API, timedelta(days=90))
        link = tokens.derive(session, told, tokens.LOGIN, HOUR)
        with pytest.raises(Forbidden, match="no scope admin"):
            tokens.derive(session, told, tokens.API, HOUR, scopes=["read", "admin"])
    of_child = shown(db, child)
    assert of_child is not None and of_child.identity.scopes == {"read", "write"}
    assert of_child.expires_at is not None and told.expires_at is not None
    assert of_child.expires_at - told.expires_at < timedelta(seconds=1)
    with db.write() as session:
        tokens.revoke(session, origin)
    assert shown(db, child) is None
    with db.write() as session:
        assert tokens.redeem(session, link) is None


@pytest.mark.parametrize("ident", ["", "%", "0" * 16, "g" * 16, "' or 1=1 --", "\x00" * 16])
def test_no_token_is_found_by_what_is_no_id(db: Database, ident: str) -> None:
    made(db)
    with db.read() as session, pytest.raises(NotFound):
        tokens.get(session, ident)


def renewed(db: Database, secret: str, now: Identity | None = None) -> refreshes.Renewal:
    with db.write() as session:
        return refreshes.renew(session, secret, lambda user: now or accounts.who(session, user, ()))


def test_a_refresh_token_gets_one_pair_after_the_other(db: Database) -> None:
    with db.write() as session:
        first = refreshes.begin(session, Identity("alice", "user"))
    second = renewed(db, first.refresh).pair
    assert second is not None and second != first
    third = renewed(db, second.refresh, Identity("alice", "admin")).pair
    assert third is not None
    told = shown(db, third.access)
    assert told is not None and told.identity.role == "admin"
    assert shown(db, first.access), "it is good for its half hour"
    assert shown(db, third.refresh) is None, "a refresh token opens nothing"


def test_a_refresh_token_that_is_used_twice_ends_its_whole_family(db: Database) -> None:
    with db.write() as session:
        first = refreshes.begin(session, Identity("alice", "user"))
        other = refreshes.begin(session, Identity("alice", "user"))
    second = renewed(db, first.refresh).pair
    assert second is not None
    stolen = renewed(db, first.refresh)
    assert (stolen.user, stolen.pair, stolen.reused) == ("alice", None, True)
    assert shown(db, first.access) is None
    assert shown(db, second.access) is None
    assert renewed(db, second.refresh).pair is None
    assert shown(db, other.access), "that of another login goes on"


def test_who_may_not_come_in_any_more_gets_no_other_pair(db: Database) -> None:
    with db.write() as session:
        pair = refreshes.begin(session, Identity("alice", "user"))
        session.flush()
        kept = tokens.get(session, tokens.id_of(pair.refresh))
        accounts.add(session, "alice", "user", None, datetime.now(timezone.utc))
        accounts.get(session, "alice").disabled_at = kept.created_at
    assert renewed(db, pair.refresh).pair is None


def test_disabling_a_user_takes_all_tokens_and_enabling_brings_none_back(db: Database) -> None:
    secret = made(db)
    with db.write() as session:
        accounts.disable(session, "alice", datetime.now(timezone.utc))
    assert shown(db, secret) is None
    with db.write() as session:
        assert accounts.who(session, "alice", {"alice"}) is None
        accounts.enable(session, "alice")
        assert accounts.who(session, "alice", {"alice"}) == Identity("alice", "admin")
        assert session.scalars(select(Token)).all() == []


def test_another_role_holds_for_the_tokens_that_there_are(db: Database) -> None:
    with db.write() as session:
        accounts.add(session, "alice", "admin", None, datetime.now(timezone.utc))
        secret = tokens.create(session, "alice", "admin", tokens.API)
        accounts.set_role(session, "alice", "user")
    told = shown(db, secret)
    assert told is not None and told.identity.role == "user"
