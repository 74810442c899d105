"""Who may report what: nobody forges what happened in jobs of others, on other nodes, or that hooks say."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import MISSING, fields
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from sqlalchemy import event, select

from tests.agent_side import NODE, hook, lines, points
from tracker.actions.apply_queue import apply_queue
from tracker.actions.ingest import Door
from tracker.errors import Forbidden, TooMany
from tracker.events import encode_request
from tracker.slurm.records import QueuedJob
from tracker.store import job_tokens, runs
from tracker.store.database import Database
from tracker.store.identity import Identity
from tracker.store.tables import Attempt, Clock, HookEvent, Run, Token, Writer

ALICE, BOB = Identity("alice", "user"), Identity("bob", "user")
N1 = Identity("n1", "node", node="dev:n1")
NOW = datetime(2026, 11, 21, 12, tzinfo=timezone.utc)
START = NOW.timestamp()
LOCAL = "local." + "a" * 32

Send = Callable[..., dict[str, Any]]


@pytest.fixture
def send(db: Database) -> Send:
    """Delivers as somebody."""
    door = Door(db, log_tail_bytes=1000)

    def deliver(
        who: Identity, *parts: tuple[dict[str, Any], bytes], node: str = "n1", cluster: str | None = "dev",
        shared: bool = False, behind_s: float = 0, **more: Any,
    ) -> dict[str, Any]:  # fmt: skip
        now = datetime.now(timezone.utc)
        agent = {"node": node, "cluster": cluster, "shared": shared, "time": now.timestamp() - behind_s}
        manifest = {"version": 1, "agent": agent, "folders": [], **more}
        manifest["parts"] = [{**part, "length": len(blob)} for part, blob in parts]
        return door.take(who, encode_request(manifest, [blob for _, blob in parts]), now)

    return deliver


def queued(db: Database, job_id: int, user: str | None = "alice", nodes: str | None = None, **more: Any) -> None:
    """Slurm tells its watcher of a job."""
    told = {
        "job_id": job_id, "state": "RUNNING" if nodes else "PENDING", "user": user, "nodes": nodes,
        "submitted_at": NOW, "started_at": NOW if nodes else None, "restarts": 0,
    } | more  # fmt: skip
    blank = dict.fromkeys(one.name for one in fields(QueuedJob) if one.default is MISSING)
    with db.write() as session:
        apply_queue(session, "dev", [QueuedJob(**blank | {"gpu_count": 0} | told)], NOW)  # type: ignore[arg-type]


def code(answer: dict[str, Any], place: int = 0) -> str | None:
    return answer["parts"][place].get("error", {}).get("code")  # type: ignore[no-any-return]


def of(part: tuple[dict[str, Any], bytes], **says: Any) -> tuple[dict[str, Any], bytes]:
    return {**part[0], **says}, part[1]


def test_people_deliver_what_is_of_their_own_jobs(db: Database, send: Send) -> None:
    queued(db, 12)
    answer = send(ALICE, lines("dev.12", *points(3)))
    assert answer["parts"][0]["offset"] > 0
    assert code(send(BOB, of(lines("dev.12", *points(3)), user="bob"))) == "forbidden"
    assert code(send(BOB, lines("dev.12", *points(3)))) == "forbidden"  # said to be alice's


def test_a_job_of_which_slurm_has_not_told_waits(db: Database, send: Send) -> None:
    assert code(send(ALICE, lines("dev.12", *points(3)))) == "not_known_yet"
    with db.read() as session:
        assert list(session.scalars(select(Run))) == []
    queued(db, 12)
    assert code(send(ALICE, lines("dev.12", *points(3)))) is None


def test_a_script_outside_slurm_is_its_user_s(db: Database, send: Send) -> None:
    assert code(send(ALICE, of(lines(LOCAL, *points(2)), user=None), cluster=None)) is None
    assert code(send(BOB, of(lines(LOCAL, *points(2), writer="w2"), user="bob"), cluster=None)) == "forbidden"
    assert code(send(BOB, ({"type": "gone", "folder": LOCAL, "time": time.time()}, b""))) == "forbidden"
    with db.read() as session:
        (run,) = session.scalars(select(Run))
    assert (run.user, run.state) == ("alice", "RUNNING")


def test_who_says_to_be_somebody_else_is_refused(db: Database, send: Send) -> None:
    answer = send(BOB, of(lines(LOCAL, *points(2)), user="alice", uid=0))
    assert (code(answer), "--user" in answer["parts"][0]["error"]["detail"]) == ("forbidden", True)
    with db.read() as session:
        assert list(session.scalars(select(Run))) == []


@pytest.mark.parametrize("kind", ["prolog", "epilog"])
def test_what_hooks_say_comes_from_nodes_alone(db: Database, send: Send, kind: str) -> None:
    queued(db, 12, nodes="n1")
    part = hook(kind, 12, at=START, SLURMD_NODENAME="n1", SLURM_JOB_USER="bob", SLURM_JOB_GPUS="0,1")
    for who in (ALICE, BOB):
        assert code(send(who, part)) == "forbidden"
    with db.read() as session:
        assert list(session.scalars(select(HookEvent))) == []
        assert [run.user for run in session.scalars(select(Run))] == ["alice"]


def test_nothing_is_told_to_people_about_jobs_of_others(db: Database, send: Send) -> None:
    queued(db, 12, nodes="n1", stdout="/home/alice/out", batch_node="n1", uid=1000)
    named = {"folders": ["dev.12"], "present": ["dev.12"], "gpus_of": ["dev.12"], "tokens_of": {"dev.12": "alice"}}
    for shared in (False, True):
        told = send(BOB, shared=shared, **named)
        assert (told["follow"], told["release"], told["tell"], told["gpus"], told["tokens"]) == ([], [], [], {}, {})
    told = send(ALICE, shared=True, **named)
    assert [one["path"] for one in told["follow"]] == ["/home/alice/out"]
    assert [one["folder"] for one in told["tell"]] == ["dev.12"]
    assert told["tokens"] == {}


def test_people_do_not_set_the_clock_of_a_node(db: Database, send: Send) -> None:
    queued(db, 12)
    send(ALICE, lines("dev.12", *points(1)), behind_s=3600)
    with db.read() as session:
        assert list(session.scalars(select(Clock))) == []
    send(NODE, lines("dev.12", *points(1), writer="w2"))
    with db.read() as session:
        assert len(list(session.scalars(select(Clock)))) == 1


def test_output_of_others_is_not_delivered(db: Database, send: Send) -> None:
    queued(db, 12, nodes="n1", stdout="/home/alice/out", batch_node="n1", uid=1000)
    part = {"type": "log", "folder": "dev.12", "stream": "stdout", "offset": 0}, b"forged\n"
    assert code(send(BOB, part)) == "forbidden"
    assert (
        code(send(BOB, ({"type": "left_out", "folder": "dev.12", "left_bytes": 1, "limit_bytes": 1}, b"")))
        == "forbidden"
    )
    assert code(send(ALICE, part)) is None


def test_a_run_beside_that_of_somebody_else_is_not_written_into(db: Database, send: Send) -> None:
    queued(db, 12)
    queued(db, 13, user="bob")
    beside = "run_" + "b" * 32 + "_w"
    assert code(send(ALICE, lines("dev.12", *points(1), writer=beside))) is None
    assert code(send(BOB, of(lines("dev.13", *points(1), writer=beside), user="bob"))) == "forbidden"


def test_refused_parts_hold_up_no_others_and_lock_nothing(db: Database, send: Send) -> None:
    queued(db, 12)
    queued(db, 13, user="bob")
    asked: list[Any] = []
    with db.write() as session:
        event.listen(session.get_bind(), "before_cursor_execute", lambda *told: asked.append(told[2:4]))
    forged, good = lines("dev.13", *points(1)), lines("dev.12", *points(3))
    answer = send(ALICE, forged, good, hook("epilog", 13, at=START), of(forged, writer="w9"))
    assert [code(answer, place) for place in range(4)] == ["forbidden", None, "forbidden", "forbidden"]
    with db.read() as session:
        writers = [writer.name for writer in session.scalars(select(Writer))]
    assert writers == ["w1"]
    locks = [told for statement, told in asked if "FOR UPDATE" in str(statement) and "job" in str(statement)]
    assert "13" not in str(locks)


def test_a_person_delivers_one_thing_at_a_time(db: Database, monkeypatch: pytest.MonkeyPatch, send: Send) -> None:
    began, go_on = threading.Event(), threading.Event()
    door = Door(db, log_tail_bytes=1000)
    store = door._store

    def slow(*told: Any) -> Any:
        began.set()
        assert go_on.wait(60)
        return store(*told)

    monkeypatch.setattr(door, "_store", slow)
    manifest = {"version": 1, "agent": {"node": "n1", "cluster": "dev", "time": START}, "folders": [], "parts": []}
    body = encode_request(manifest, [])
    first = threading.Thread(target=door.take, args=(ALICE, body, NOW))
    first.start()
    assert began.wait(60)
    with pytest.raises(TooMany):
        door.take(ALICE, body, NOW)
    go_on.set()
    first.join()
    assert door.take(BOB, body, NOW)["parts"] == door.take(ALICE, body, NOW)["parts"] == []


# A node's own key.


def test_a_node_s_key_reports_what_happened_there(db: Database, send: Send) -> None:
    started = hook("prolog", 12, at=START, SLURMD_NODENAME="n1")
    answer = send(N1, started, lines("dev.12", *points(2)), hook("epilog", 12, at=START + 9, SLURMD_NODENAME="n1"))
    assert [code(answer, place) for place in range(3)] == [None] * 3


@pytest.mark.parametrize("told", [{"node": "n2"}, {"cluster": "prod"}, {"cluster": None}, {"shared": True}])
def test_it_does_not_speak_for_another_node(db: Database, send: Send, told: dict[str, Any]) -> None:
    with pytest.raises(Forbidden):
        send(N1, lines("dev.12", *points(1)), **told)


@pytest.mark.parametrize("said", [{"SLURMD_NODENAME": "n2"}, {"SLURM_CLUSTER_NAME": "prod"}])
def test_nor_do_its_hooks(db: Database, send: Send, said: dict[str, str]) -> None:
    assert code(send(N1, hook("prolog", 12, at=START, **said))) == "forbidden"


def test_nor_for_jobs_that_are_elsewhere(db: Database, send: Send) -> None:
    queued(db, 12, nodes="n2")
    for part in (
        hook("prolog", 12, at=START, SLURMD_NODENAME="n1", SLURM_JOB_RESTART_COUNT="0"),
        hook("epilog", 12, at=START, SLURMD_NODENAME="n1"),
        lines("dev.12", *points(1)),
        lines("prod.12", *points(1)),
        ({"type": "log", "folder": "dev.12", "stream": "stdout", "offset": 0}, b"forged\n"),
    ):
        assert code(send(N1, part)) == "forbidden", part
    with db.read() as session:
        assert [attempt.nodes for attempt in session.scalars(select(Attempt))] == ["n2"]


def test_a_requeued_job_may_come_from_elsewhere(db: Database, send: Send) -> None:
    """The node's hook is quicker than the watcher."""
    queued(db, 12, nodes="n2")
    begun = hook("prolog", 12, at=time.time(), SLURMD_NODENAME="n1", SLURM_JOB_RESTART_COUNT="1")
    ended = hook("epilog", 12, at=time.time(), SLURMD_NODENAME="n1")
    answer = send(N1, begun, lines("dev.12", *points(1)), ended)
    assert [code(answer, place) for place in range(3)] == [None] * 3


def test_a_job_on_many_nodes_is_reported_by_each(db: Database, send: Send) -> None:
    queued(db, 12, nodes="n[1-2]")
    for who, node in ((N1, "n1"), (Identity("n2", "node", node="dev:n2"), "n2")):
        answer = send(who, hook("prolog", 12, at=START, SLURMD_NODENAME=node), lines("dev.12", writer=node), node=node)
        assert [code(answer, place) for place in range(2)] == [None] * 2


# Tokens of jobs.


def token_of(db: Database, send: Send, who: Identity = NODE, user: str = "alice", folder: str = "dev.12") -> str | None:
    return send(who, tokens_of={folder: user})["tokens"].get(folder)  # type: ignore[no-any-return]


def test_a_running_job_gets_a_token_of_its_own(db: Database, send: Send) -> None:
    assert token_of(db, send) is None  # nobody knows of it
    queued(db, 12, nodes="n1")
    token = token_of(db, send)
    assert token is not None
    assert token_of(db, send) == token  # the same on all of its nodes
    with db.read() as session:
        assert job_tokens.identify(session, token) == Identity("alice", "user", job=("dev", 12))
        assert list(session.scalars(select(Token))) == []


def test_only_agents_are_given_tokens_of_jobs_and_for_their_users_only(db: Database, send: Send) -> None:
    queued(db, 12, nodes="n1")
    assert token_of(db, send, ALICE) is None
    assert token_of(db, send, user="bob") is None  # a folder of somebody else with this name
    assert token_of(db, send, N1) is not None
    queued(db, 13, nodes="n2")
    assert token_of(db, send, N1, folder="dev.13") is None


def test_it_is_good_for_that_job_alone(db: Database, send: Send) -> None:
    queued(db, 12, nodes="n1")
    queued(db, 13, nodes="n1")
    queued(db, 14, user="bob", nodes="n1")
    token = token_of(db, send)
    with db.read() as session:
        who = job_tokens.identify(session, token or "")
        assert who is not None
        seen = [run.job_id for run in runs.find(session, who).items]
    assert seen == [12]
    answer = send(who, lines("dev.12", *points(1)), lines("dev.13", *points(1)), lines("dev.14", *points(1)))
    assert [code(answer, place) for place in range(3)] == [None, "forbidden", "forbidden"]


def test_it_ends_with_the_job_and_is_not_good_for_the_next_with_its_id(db: Database, send: Send) -> None:
    queued(db, 12, nodes="n1")
    token = token_of(db, send) or ""
    queued(db, 12, nodes="n1", state="COMPLETED", ended_at=NOW + timedelta(seconds=9))
    with db.read() as session:
        assert job_tokens.identify(session, token) is None
    queued(db, 12, user="bob", nodes="n1", submitted_at=NOW + timedelta(days=300), started_at=NOW + timedelta(days=300))
    with db.read() as session:
        assert job_tokens.identify(session, token) is None


def test_what_is_forged_is_no_token(db: Database, send: Send) -> None:
    queued(db, 12, nodes="n1")
    queued(db, 13, user="bob", nodes="n1")
    alice = token_of(db, send) or ""
    bob = token_of(db, send, user="bob", folder="dev.13") or ""
    payload, _, signature = alice.rpartition(".")
    forged = [
        f"{payload}.{bob.rpartition('.')[2]}",
        payload,
        f"{payload}.",
        f"trj_.{signature}",
        "trj_",
        alice + "A",
        "trj_" + "A" * 5000,
    ]
    with db.read() as session:
        assert [job_tokens.identify(session, one) for one in forged] == [None] * len(forged)
        assert job_tokens.identify(session, alice) is not None
